"""Reflex without our changes still does what they change. Where one of these fails after an update, the change
can go (`aisaas/ui/reflex_patches`)."""

from __future__ import annotations

import inspect
import re
import time
from pathlib import Path

import httpx
import pytest
import reflex as rx
from reflex.istate.manager.memory import StateManagerMemory
from reflex.istate.manager.token import BaseStateToken
from reflex.state import State
from reflex.utils import frontend_skeleton
from reflex_base.config import get_config
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import aisaas.aisaas
import aisaas.ui
from aisaas.ui import reflex_patches
from aisaas.ui.reflex_patches import server
from aisaas.ui.reflex_patches.bundling import bundled
from aisaas.ui.reflex_patches.one_origin import PLACEHOLDER
from aisaas.ui.reflex_patches.tab_states import KEPT_SECONDS

UI = Path(aisaas.ui.__file__).parent
CREDENTIALS = "access-control-allow-credentials"
_USED = re.compile(r"\b(?!self\b|cls\b)\w+\)?\.(_(?!_)[a-z]\w+)")
_DEFINED = re.compile(r"^\s*(?:async def |def |self\.|)(_[a-z]\w+)(?:\(|:| =)", re.MULTILINE)


async def test_reflex_lets_other_origins_send_cookies_where_none_is_allowed() -> None:
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse(""))])
    server.REFLEX_ADD_CORS(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here.example") as client:
        answer = await client.get("/", headers={"origin": "https://elsewhere.example"})
    assert CREDENTIALS in answer.headers


def test_reflex_sockets_say_that_cookies_may_come() -> None:
    source = inspect.getsource(rx.App)
    assert 'cors_credentials=config.transport == "websocket"' in source
    assert get_config().transport == "websocket"


def test_reflex_leaves_it_to_vite_how_the_framework_is_split() -> None:
    written = frontend_skeleton._compile_vite_config(get_config())  # pyright: ignore[reportPrivateUsage]
    assert bundled(written) != written


async def test_reflex_forgets_a_tab_that_is_connected_and_keeps_one_that_is_not() -> None:
    states = StateManagerMemory(token_expiration=600)
    assert StateManagerMemory().token_expiration > KEPT_SECONDS
    token = BaseStateToken(ident="tab", cls=State)
    async with states.modify_state(token):
        pass
    # Nothing tells it whether there is a socket.
    assert "connected" not in inspect.signature(StateManagerMemory).parameters
    states._purge_expired_tokens()  # pyright: ignore[reportPrivateUsage]
    assert states.states
    states._token_expires_at[token.cache_key] = (time.time() - 1, token)  # pyright: ignore[reportPrivateUsage]
    states._purge_expired_tokens()  # pyright: ignore[reportPrivateUsage]
    assert not states.states
    await states.close()


def test_reflex_has_no_public_way_to_the_root_of_a_tabs_states() -> None:
    public = {name for name in dir(State) if not name.startswith("_") and "root" in name}
    # A class, not the tab's own.
    assert public == {"get_root_state"}
    assert inspect.ismethod(State.get_root_state)


def test_reflex_leaves_the_pages_to_its_router() -> None:
    written = frontend_skeleton._update_react_router_config(  # pyright: ignore[reportPrivateUsage]
        get_config(), prerender_routes=True
    )
    assert '"prerender": true' in written


def test_reflex_writes_an_absolute_address_into_pages() -> None:
    assert rx.constants.Endpoint.EVENT.get_url().endswith(f"{PLACEHOLDER[4:]}/_event")


@pytest.mark.parametrize(
    "name", ["server", "tab_states", "state_tree", "reconnecting", "one_origin", "prerendering"]
)
def test_each_change_is_explained_in_one_place(name: str) -> None:
    assert (UI / "reflex_patches" / f"{name}.py").is_file()
    words = reflex_patches.__doc__ or ""
    assert name in words or name == "state_tree"


def test_no_other_module_relies_on_private_names_of_reflex() -> None:
    sources = {
        path.relative_to(UI): path.read_text("utf-8")
        for path in UI.rglob("*.py")
        if "reflex_patches" not in path.parts
    }
    ours = {name for source in sources.values() for name in _DEFINED.findall(source)}
    assert "_watch" in ours
    theirs = _USED.findall((UI / "reflex_patches" / "server.py").read_text("utf-8"))
    assert {"_add_cors", "_token_manager"} <= set(theirs)
    foreign = {
        (str(path), name)
        for path, source in sources.items()
        for name in _USED.findall(source)
        if name not in ours
    }
    assert foreign == set()
