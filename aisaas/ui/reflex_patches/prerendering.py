"""Which pages are built as HTML: all of them, also those whose address has an id.

Reflex has the router render every address without a parameter. This plugin writes the list out, with
one address for each page that has one (`routes.built_path`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from reflex.plugins import Plugin
from reflex_base import constants
from reflex_base.config import get_config
from reflex_base.plugins import CommonContext, PostBuildContext

from aisaas.ui import routes


class Prerendering(Plugin):
    """Writes the router's configuration; it replaces the one that Reflex has written."""

    def get_static_assets(
        self, **context: Unpack[CommonContext]
    ) -> Sequence[tuple[Path, str | bytes]]:
        router = {
            "basename": get_config().prepend_frontend_path("/"),
            "future": {"unstable_optimizeDeps": True},
            "ssr": False,
            "prerender": [routes.built_path(route) for route in routes.PAGES],
            "build": constants.Dirs.BUILD_DIR,
        }
        return [
            (Path(constants.ReactRouter.CONFIG_FILE), f"export default {json.dumps(router)};\n")
        ]

    def post_build(self, **context: Unpack[PostBuildContext]) -> None:
        """Remove the second copy of each page, which Reflex makes for other servers."""
        static = context["static_dir"]
        for page in static.glob("*/**/index.html"):
            page.parent.with_suffix(".html").unlink(missing_ok=True)
