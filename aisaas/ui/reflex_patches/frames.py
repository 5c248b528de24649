"""Frames that go straight to a tab's socket, encoded once.

Reflex's `emit_delta` costs 0.3 ms: it builds an update, encodes it field by field, starts a task and
waits for it. A running reply sends two dozen frames a second, and all that differs is a piece of text.
"""

# pyright: reportMissingTypeStubs=false, reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from engineio.async_socket import AsyncSocket
from engineio.packet import MESSAGE, Packet
from reflex_base.registry import RegistrationContext


def has_socket(token: str) -> bool:
    """Whether the tab with that token is connected; True where there are no sockets at all. Reflex's
    public list is copied on every access, so it isn't used here."""
    namespace = RegistrationContext.get().app.event_namespace
    return namespace is None or token in namespace._token_manager.token_to_socket


def socket_of(token: str) -> AsyncSocket | None:
    """The socket in this process of the tab with that token."""
    namespace = RegistrationContext.get().app.event_namespace
    if namespace is None or (server := namespace.server) is None:
        return None
    tokens = namespace._token_manager
    record = tokens.token_to_socket.get(token)
    if record is None or record.instance_id != tokens.instance_id:
        return None
    sid = server.manager.eio_sid_from_sid(record.sid, namespace.namespace)
    return server.eio.sockets.get(sid)


async def send(socket: AsyncSocket, frame: str) -> None:
    """Queue a Socket.IO packet, in its text form. Nothing is sent into a socket that has closed."""
    if not socket.closed:
        await socket.send(Packet(MESSAGE, frame))
