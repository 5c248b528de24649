"""Reflex's configuration, from our settings.

A tab's state lives in the memory of the process that its socket is connected to, or in Redis
(TAB_STATES). Each connection begins with a load that rebuilds it from the cookie and the database, so
a restart loses nothing and a tab may come to another process either way. In memory, showing a page
never depends on Redis, and nothing that is unpickled comes from outside the process.

A build needs no settings: what is read here besides the name concerns the running server.
"""

from __future__ import annotations

import os

import reflex as rx

from aisaas.errors import ConfigurationError
from aisaas.settings import Settings, settings
from aisaas.ui.own_components import OwnComponents
from aisaas.ui.reflex_patches.bundling import Bundling
from aisaas.ui.reflex_patches.one_origin import PLACEHOLDER, OneOrigin
from aisaas.ui.reflex_patches.prerendering import Prerendering
from aisaas.ui.reflex_patches.reconnecting import Reconnecting

# A dead socket has to be noticed before the tab that lost it comes back; defaults are 25 and 120 s.
os.environ.setdefault("REFLEX_SOCKET_INTERVAL", "5")
os.environ.setdefault("REFLEX_SOCKET_TIMEOUT", "5")
# Of each of its clients of Redis; unbounded, they opened more than one connection a tab. Who finds none
# free waits, two seconds at most.
os.environ.setdefault("REFLEX_REDIS_MAX_CONNECTIONS", "16")

# A longer frame closes the connection without a word; the longest message must fit, each character
# escaped as JSON may escape it, and what travels with it.
LEAST_FRAME = 1_000_000
BYTES_A_CHARACTER = 6
ENVELOPE = 65_536


def _server(config: Settings) -> dict[str, object]:
    longest = max(LEAST_FRAME, config.max_message_chars * BYTES_A_CHARACTER + ENVELOPE)
    os.environ.setdefault("REFLEX_SOCKET_MAX_HTTP_BUFFER_SIZE", str(longest))
    shared = config.tab_states == "redis"
    return {
        "backend_port": config.port,
        "frontend_port": config.port,
        "cors_allowed_origins": list(config.origins),
        "state_manager_mode": "redis" if shared else "memory",
        # Seconds after its last event that a tab's state is kept in Redis; one in memory is kept as
        # aisaas/ui/reflex_patches/tab_states.py says. A tab that stays silent for longer is rebuilt.
        "redis_token_expiration": 900,
        "redis_url": config.redis_url.get_secret_value() if shared and config.redis_url else None,
    }


def _server_or_build() -> dict[str, object]:
    try:
        return _server(settings())
    except ConfigurationError:
        # The front end can be built where no secret is; such a process accepts no origin.
        return {"cors_allowed_origins": []}


config = rx.Config(
    app_name="aisaas",
    api_url=PLACEHOLDER,
    backend_host="127.0.0.1",
    telemetry_enabled=False,
    show_built_with_reflex=False,
    frontend_compression_formats=["brotli", "gzip"],
    plugins=[OwnComponents(), Prerendering(), Reconnecting(), Bundling(), OneOrigin()],
    disable_plugins=[rx.plugins.SitemapPlugin],
    **_server_or_build(),  # pyright: ignore[reportArgumentType]
)
