"""How many connections a process may hold: every one costs a file descriptor.

Granian stops accepting for good when there is no descriptor left, so its accepted connections and
the web sockets together stay below the limit; the rest is for the database, Redis, providers and
files.
"""

from __future__ import annotations

import contextlib
import resource

# More than a process can serve, and no limit of a system's tables.
MOST = 65_536
# Connections that wait for their headers, an answer or the next request.
MOST_CONNECTIONS = 4_096
OWN_NEEDS = 512


def raise_limit() -> None:
    """Take as many descriptors as the system lets us; many start with a soft limit of 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = allowed()
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    # macOS has a lower limit of its own that it doesn't tell.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def allowed() -> int:
    """Descriptors that a process of ours gets."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)


def connections(descriptors: int | None = None) -> int:
    """How many connections that aren't web sockets a process accepts at once."""
    return max(64, min(MOST_CONNECTIONS, (descriptors or allowed()) // 4))


def sockets(descriptors: int | None = None) -> int:
    """How many web sockets a process holds at once."""
    own = min(OWN_NEEDS, (descriptors or allowed()) // 4)
    return max(64, (descriptors or allowed()) - connections(descriptors) - own)
