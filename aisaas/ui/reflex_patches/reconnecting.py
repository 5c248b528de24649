"""How soon a page reconnects: Reflex's own client, with our delays.

Reflex waits up to 2 s between two attempts and up to 20 s for one without an answer, and Chromium
delays the attempts of a page whose web sockets keep failing by up to 5 s. This plugin changes its
client's source: after a failure it first polls the server over HTTP, briefly and often, and opens a
socket only once that answers. When the browser says that the network is back, the connection is
renewed: the old one may be dead unnoticed.
Invariant: if a place to change isn't found in the client, the build fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from reflex.constants import Templates
from reflex.plugins import Plugin
from reflex_base.plugins import CommonContext

CLIENT = Path("utils/state.js")
# An attempt without an answer is given up after this long; slow networks need about a second.
ATTEMPT_MS = 2500
# Between two questions, at random so that the tabs of a restarted server don't come as one.
LEAST_WAIT_MS, SPREAD_MS = 150, 350

_RETRY = """\
    retry_timer = window.setTimeout(() => {
      retry_timer = undefined;
      if (socket.current && !socket.current.connected) {
        socket.current.reconnect();
      }
    }, 200 * failed_attempts); // Incremental backoff
"""
_RETRY_SOON = f"""\
    const wait = () => {LEAST_WAIT_MS} + {SPREAD_MS} * Math.random();
    const retry = async () => {{
      const signal = AbortSignal.timeout({ATTEMPT_MS});
      const answer = await fetch(getBackendURL(env.PING), {{ cache: "no-store", signal }})
        .catch(() => null);
      if (!answer?.ok) {{
        retry_timer = window.setTimeout(retry, wait());
        return;
      }}
      retry_timer = undefined;
      if (socket.current && !socket.current.connected) {{
        socket.current.reconnect();
      }}
    }};
    retry_timer = window.setTimeout(retry, wait());
"""
_LISTEN = """\
  document.addEventListener("visibilitychange", checkVisibility);
"""
_LISTEN_FOR_MORE = """\
  document.addEventListener("visibilitychange", checkVisibility);
  window.addEventListener("online", () => {
    window.clearTimeout(retry_timer);
    retry_timer = undefined;
    socket.current.disconnect();
    socket.current.wait_connect = false;
    socket.current.reconnect();
  });
"""
_GIVE_UP = "    reconnection: false,\n"
_GIVE_UP_SOON = f"    reconnection: false,\n    timeout: {ATTEMPT_MS},\n"
_CHANGES = {_GIVE_UP: _GIVE_UP_SOON, _RETRY: _RETRY_SOON, _LISTEN: _LISTEN_FOR_MORE}


class Reconnecting(Plugin):
    """Puts the changed client among the front end's sources."""

    def get_static_assets(
        self, **context: Unpack[CommonContext]
    ) -> Sequence[tuple[Path, str | bytes]]:
        source = (Templates.Dirs.WEB_TEMPLATE / CLIENT).read_text("utf-8")
        return [(CLIENT, reconnects_soon(source))]


def reconnects_soon(source: str) -> str:
    """Reflex's client with our waits.

    Raises:
        RuntimeError: Reflex has changed its client.
    """
    for theirs, ours in _CHANGES.items():
        if source.count(theirs) != 1:
            raise RuntimeError(f"{CLIENT} has no single place with {theirs.strip()!r}")
        source = source.replace(theirs, ours)
    return source
