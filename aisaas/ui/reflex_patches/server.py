"""What we change in Reflex at run time; the package says why."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import reflex as rx
from reflex.istate.manager.memory import StateManagerMemory
from reflex.istate.manager.redis import StateManagerRedis
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

from aisaas.ui.reflex_patches.tab_states import TabStates, forget_in_redis

log = logging.getLogger(__name__)

REFLEX_ADD_CORS = rx.App._add_cors


def allow_foreign_origins(found: Callable[[], Collection[str]]) -> None:
    """Call before the app is created: `found` returns the origins besides our own."""

    def add_cors(api: Starlette) -> None:
        if origins := found():
            api.add_middleware(
                CORSMiddleware,
                allow_credentials=True,
                allow_methods=["*"],
                allow_headers=["*"],
                allow_origins=list(origins),
            )

    rx.App._add_cors = staticmethod(add_cors)


def keep_states(app: rx.App) -> None:
    """After the app is made."""
    if app.sio is not None:
        app.sio.eio.cors_credentials = False
    if isinstance(app.state_manager, StateManagerMemory):
        app._state_manager = TabStates(connected=lambda token: _is_connected(app, token))


def _is_connected(app: rx.App, token: str) -> bool:
    namespace = app.event_namespace
    return namespace is not None and token in namespace._token_manager.token_to_socket


async def forget(app: rx.App, token: str) -> None:
    """Drop the state of a tab that has gone."""
    manager = app.state_manager
    if isinstance(manager, TabStates):
        manager.forget(token)
    elif isinstance(manager, StateManagerRedis):
        try:
            await forget_in_redis(manager, token)
        except Exception as error:  # noqa: BLE001 - Redis is away; it forgets by itself, later
            log.warning("a tab's state was not dropped: %s", type(error).__name__)
