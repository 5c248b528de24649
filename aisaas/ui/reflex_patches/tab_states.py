"""Which tab states the server keeps, and for how long.

Every connection begins with a load that rebuilds a tab from the cookie and the database, and Reflex does
the same when a tab whose state is gone sends something. So forgetting loses nothing: a tab that
isn't signed in is forgotten with its socket, or after a while without events; a signed-in one is
kept while it is connected, and a moment longer, so that a reload finds its running reply.
"""

# pyright: reportMissingTypeArgument=false, reportPrivateUsage=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from reflex.istate.manager.memory import StateManagerMemory
from reflex.istate.manager.redis import StateManagerRedis
from reflex.istate.manager.token import BaseStateToken, StateToken
from reflex.state import BaseState, State

from aisaas.ui.session import Session

# Without events from a tab that isn't signed in, or after a signed-in one has disconnected.
KEPT_SECONDS = 120
LOOK_SECONDS = 5.0
# Tabs that have gone, which their users may come back to.
MOST_GONE = 500


@dataclasses.dataclass
class TabStates(StateManagerMemory):
    """In memory. `connected` tells whether a token has a socket here."""

    token_expiration: int = KEPT_SECONDS
    connected: Callable[[str], bool] = lambda _: False

    def _purge_expired_tokens(self) -> float | None:
        now = time.time()
        gone: list[tuple[float, StateToken]] = []
        for _, (expires_at, token) in list(self._token_expires_at.items()):
            lock = self._states_locks.get(token.lock_key)
            if lock is not None and lock.locked():
                continue
            if self._stays(token):
                self._track_token(token)
            elif expires_at <= now:
                self._purge_token(token)
            elif not self._connected(token):
                gone.append((expires_at, token))
        gone.sort(key=lambda each: each[0])
        for _, token in gone[: max(0, len(gone) - MOST_GONE)]:
            self._purge_token(token)
        return now + LOOK_SECONDS if self._token_expires_at else None

    def _stays(self, token: StateToken) -> bool:
        return self._connected(token) and _is_signed_in(self.states.get(token.cache_key))

    def _connected(self, token: StateToken) -> bool:
        return self.connected(token.ident)

    def forget(self, ident: str) -> None:
        """Drop the state of a tab now, unless a handler is at work on it."""
        token = BaseStateToken(ident=ident, cls=State)
        lock = self._states_locks.get(token.lock_key)
        if lock is None or not lock.locked():
            self._purge_token(token)


def _is_signed_in(state: object) -> bool:
    if not isinstance(state, State):
        return False
    session = state.substates.get(Session.get_name())
    return isinstance(session, Session) and bool(session.owner)


async def forget_in_redis(manager: StateManagerRedis, ident: str) -> None:
    """The same for a tab whose state is in Redis."""
    token = BaseStateToken(ident=ident, cls=State)
    pending: list[type[BaseState]] = [State]
    keys: list[str] = []
    while pending:
        state = pending.pop()
        keys.append(token._state_key(state))
        pending.extend(state.get_substates())
    await manager.redis.delete(*keys)
