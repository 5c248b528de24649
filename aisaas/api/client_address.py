"""Where a request comes from, for limits: the connection, or what trusted proxies say about it.

Each proxy appends the address it was reached from to X-Forwarded-For, so with N trusted proxies the
N-th entry from the right is the one that the outermost of them saw. Everything left of it was
written by the client and proves nothing.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import HTTPConnection
from starlette.types import Scope

UNKNOWN = "unknown"
# A customer of an IPv6 network has at least that much of it.
IPV6_PREFIX = 64


def address_in(scope: Scope, trusted_proxies: int) -> str:
    """The address of a request or a web socket that no route has seen yet."""
    return client_address(HTTPConnection(scope), trusted_proxies)


def client_address(request: HTTPConnection, trusted_proxies: int) -> str:
    """What counts as one address: an IPv4 address or a /64. Rubbish is one address, too."""
    peer = request.client.host if request.client else ""
    if trusted_proxies == 0:
        return counted(peer)
    # Several headers are one list, in their order.
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    entries = [entry.strip() for entry in forwarded.split(",") if entry.strip()]
    if len(entries) < trusted_proxies:
        # It didn't come through all of them. What there is was not written by the outermost.
        return counted(peer)
    return counted(entries[-trusted_proxies])


def counted(text: str) -> str:
    """The form of a connection's or header's address that limits are counted by."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
