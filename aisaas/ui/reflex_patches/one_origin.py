"""A built front end that talks to whatever address it was loaded from.

Reflex writes the back end's absolute address into one file of the build. This plugin puts the
page's own origin in its place, so that another PORT, APP_URL or a proxy needs no new build.
Invariant: a build in which nothing was replaced is a failed build, never a page without a back end.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Unpack

from reflex.plugins import Plugin
from reflex_base.plugins import PostBuildContext

from aisaas.api.paths import BUILD_ORIGIN

PLACEHOLDER = BUILD_ORIGIN
# A quoted URL with the placeholder's host, whichever quotes the minifier chose.
_BAKED_URL = re.compile(r"([\"'`])(http|ws)://same-origin\.invalid(/[^\"'`]*)?\1")
_ORIGINS = {
    "http": "${location.origin}",
    "ws": "${location.origin.replace(/^http/,`ws`)}",
}


class OneOrigin(Plugin):
    """Goes with `api_url=PLACEHOLDER` in the configuration."""

    def post_build(self, **context: Unpack[PostBuildContext]) -> None:
        """Rewrite the built files; runs before Reflex compresses them.

        Raises:
            RuntimeError: no address was found, or one is left.
        """
        static = context["static_dir"]
        replaced = sum(_use_own_origin(script) for script in static.rglob("*.js"))
        left = [path.name for path in static.rglob("*.js") if "same-origin.invalid" in _text(path)]
        if not replaced or left:
            raise RuntimeError(
                f"the built front end has {replaced} addresses of the back end to replace and "
                f"{left or 'none'} that could not be; Reflex has changed how it writes them"
            )


def _use_own_origin(script: Path) -> int:
    text, count = _BAKED_URL.subn(
        lambda found: f"`{_ORIGINS[found[2]]}{found[3] or ''}`", _text(script)
    )
    if count:
        script.write_text(text, encoding="utf-8")
    return count


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
