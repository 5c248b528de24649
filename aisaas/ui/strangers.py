"""The limits on what comes from outside, as the settings have them. docs/decisions/ says why these."""

from __future__ import annotations

from functools import partial

import reflex as rx
from starlette.types import ASGIApp

from aisaas.api.connection_limits import QuietConnections
from aisaas.api.request_limits import RequestLimits
from aisaas.overload import Bulkhead
from aisaas.process import descriptors
from aisaas.settings import settings
from aisaas.ui.reflex_patches import server
from aisaas.ui.sockets import SocketGate, Sockets


def limited(app: rx.App, inner: ASGIApp, *, cookie: str, tabs: Bulkhead) -> ASGIApp:
    """`inner`, which serves `app`, behind the limits on its requests and its sockets.

    Args:
        cookie: the name of the session's.
        tabs: how many may load at once.
    """
    config = settings()
    gate = SocketGate(
        inner,
        sockets=Sockets(
            per_address=config.sockets_per_address,
            per_user=config.sockets_per_user,
            most=descriptors.sockets(),
        ),
        trusted_proxies=config.trusted_proxies,
        cookie=cookie,
        max_message_chars=config.max_message_chars,
        forget=partial(server.forget, app),
        tabs=tabs,
    )
    return RequestLimits(gate, trusted_proxies=config.trusted_proxies)


async def close_quiet_connections() -> None:
    config = settings()
    # Behind a proxy of ours every connection is the proxy's.
    if not config.trusted_proxies:
        await QuietConnections(config.port, config.connections_per_address).watch()
