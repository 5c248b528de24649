"""The framework's scripts as one file.

Vite cuts what pages share into small files. A browser requests six at a time over HTTP/1.1, so on a slow
network the last ones wait for two more round trips, and nothing works before they are there.
Invariant: if the place to change isn't found in Vite's configuration, the build fails.
"""

from __future__ import annotations

import json
from typing import Unpack

from reflex.plugins import Plugin
from reflex_base import constants
from reflex_base.plugins import PreCompileContext

# The packages that every page loads, besides Reflex's client.
PACKAGES = (
    *("react", "react-dom", "react-router", "scheduler", "cookie", "@emotion"),
    *("socket.io-client", "socket.io-parser", "engine.io-client", "engine.io-parser"),
    *("@socket.io", "universal-cookie", "mergician"),
)
_THEIRS = """\
            {
              test: /env.json/,
              name: "reflex-env",
            },
"""
_OURS = f"""\
            {{
              name: "framework",
              test: (file) =>
                {json.dumps(PACKAGES)}.some((name) => file.includes(`/node_modules/${{name}}/`)) ||
                /\\/\\.web\\/(utils\\/|env\\.json)/.test(file),
            }},
"""


class Bundling(Plugin):
    """Changes the configuration that Reflex writes for Vite."""

    def pre_compile(self, **context: Unpack[PreCompileContext]) -> None:
        context["add_modify_task"](constants.ReactRouter.VITE_CONFIG_FILE, bundled)


def bundled(configuration: str) -> str:
    """Vite's configuration with one file for the framework.

    Raises:
        RuntimeError: Reflex has changed it.
    """
    if configuration.count(_THEIRS) != 1:
        raise RuntimeError("Vite's configuration has no single place for groups of files")
    return configuration.replace(_THEIRS, _OURS)
