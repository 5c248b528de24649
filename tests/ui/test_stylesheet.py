"""One theme file: every class that is used is defined in it, and colours are legible."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import aisaas.ui

UI = Path(aisaas.ui.__file__).parent
THEME = (UI / "theme.css").read_text("utf-8")
DEFINED = set(re.findall(r"\.(-?[a-zA-Z][\w-]*)", THEME))
CLASS = re.compile(r"class(?:_n|N)ame=\{?(?:\w+ \? )?\"([^\"]+)\"(?: : \"([^\"]+)\")?")
TEXT_CONTRAST = 4.5
GRAPHIC_CONTRAST = 3


def test_every_class_in_use_has_a_style() -> None:
    used: set[str] = set()
    for path in [*UI.rglob("*.py"), *UI.rglob("*.jsx")]:
        for match in CLASS.finditer(path.read_text("utf-8")):
            used |= {name for group in match.groups() if group for name in group.split()}
    assert used
    assert not used - DEFINED


def tokens(theme: int) -> dict[str, str]:
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", THEME)
    return {name: values[theme] for name, *values in pairs}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(theme: int, one: str, other: str) -> float:
    colours = tokens(theme)
    light, dark = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("colour", [f"chart-{n}" for n in range(1, 7)])
def test_bars_stand_out_from_their_ground(theme: int, colour: str) -> None:
    assert contrast(theme, colour, "raised") >= GRAPHIC_CONTRAST


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "paper"),
        ("ink-soft", "paper"),
        ("ink-soft", "hover"),
        ("ink-faint", "paper"),
        ("ink-faint", "raised"),
        ("ink-faint", "sunken"),
        ("green", "paper"),
        ("green-strong", "green-wash"),
        ("on-green", "green"),
        ("on-green", "green-strong"),
        ("amber", "amber-wash"),
        ("amber", "paper"),
        ("red", "red-wash"),
        ("red", "raised"),
        ("green-strong", "raised"),
        ("code-keyword", "sunken"),
        ("code-string", "sunken"),
        ("code-number", "sunken"),
        ("code-title", "sunken"),
        ("code-comment", "sunken"),
    ],
)
def test_text_meets_wcag_aa(theme: int, text: str, ground: str) -> None:
    assert contrast(theme, text, ground) >= TEXT_CONTRAST
