"""Puts our scripts and the stylesheet among the front end's sources.

As sources they are bundled and hashed with everything else; none is served as a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from reflex.plugins import Plugin
from reflex_base.plugins import CommonContext

from aisaas.ui import messages

_HERE = Path(__file__).parent


class OwnComponents(Plugin):
    """`browser/*.jsx` and `*.js` become `components/own/`, with what codes in addresses mean beside them, and
    `theme.css` a stylesheet of every page."""

    def get_static_assets(
        self, **context: Unpack[CommonContext]
    ) -> Sequence[tuple[Path, str | bytes]]:
        scripts = sorted((_HERE / "browser").glob("*.js*"))
        sources = [(Path("components/own") / path.name, path) for path in scripts]
        sources.append((Path("styles/theme.css"), _HERE / "theme.css"))
        generated = (Path("components/own/messages.js"), messages.module())
        return [generated, *((target, path.read_text("utf-8")) for target, path in sources)]

    def get_stylesheet_paths(self, **context: Unpack[CommonContext]) -> Sequence[str]:
        return ["./theme.css"]
