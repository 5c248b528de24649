"""A build that follows the address it is opened at."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisaas.ui.one_origin import PLACEHOLDER, OneOrigin

SOCKET = PLACEHOLDER.replace("http", "ws")


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_addresses_of_the_back_end_become_the_pages_own(tmp_path: Path, quote: str) -> None:
    script = tmp_path / "env.js"
    baked = (f"{quote}{PLACEHOLDER}/ping{quote}", f"{quote}{SOCKET}/_event{quote}")
    script.write_text(f"var e={{PING:{baked[0]},EVENT:{baked[1]}}};")
    OneOrigin().post_build(static_dir=tmp_path)
    assert script.read_text() == (
        "var e={PING:`${location.origin}/ping`,"
        "EVENT:`${location.origin.replace(/^http/,`ws`)}/_event`};"
    )


@pytest.mark.parametrize("content", ["nothing to replace", f"`{PLACEHOLDER}/a`,`x{PLACEHOLDER}`"])
def test_build_that_would_call_nobody_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "env.js").write_text(content)
    with pytest.raises(RuntimeError, match="front end has"):
        OneOrigin().post_build(static_dir=tmp_path)


def test_only_the_root_page_stays_a_file(tmp_path: Path) -> None:
    (tmp_path / "env.js").write_text(f"`{PLACEHOLDER}/ping`")
    for name in ("index.html", "login/index.html", "login.html", "a/b/index.html", "a/b.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("<html>")
    (tmp_path / "a" / "picture.svg").write_text("<svg/>")
    OneOrigin().post_build(static_dir=tmp_path)
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["a/picture.svg", "env.js", "index.html"]
