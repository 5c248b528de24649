"""Handlers as any client can call them: with any payload, from any session.

They run in Reflex's own event processor, in memory, without a browser and without a server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import reflex as rx
from reflex.istate.manager.memory import StateManagerMemory
from reflex_base.event import Event
from reflex_base.event.processor import BaseStateEventProcessor
from reflex_base.registry import RegistrationContext
from reflex_base.utils.format import format_event_handler

from aisaas.errors import QuotaExceeded
from aisaas.ui.chat.state import Chat, Sidebar
from aisaas.ui.chat.stream import Tail
from aisaas.ui.dashboard.state import Dashboard
from aisaas.ui.notices import Notices
from aisaas.ui.session import OwnerOnly, Session
from tests.ui.conftest import ADA, NOW, Recorded, principal

MARKER = "_rx_state_"
ID = str(UUID(int=7))
JUNK: list[Any] = [
    None,
    "",
    "x" * 100_000,
    "'; drop table messages; --",
    -1,
    2**80,
    1.5,
    True,
    [],
    [[]],
    {},
    {"$ne": None},
    {"id": ID},
]
HANDLERS: dict[Any, tuple[str, ...]] = {
    Chat.send: ("text", "conversation", "nonce"),
    Chat.retry: ("message_id",),
    Chat.stop: ("message_id",),
    Chat.choose_model: ("model",),
    Chat.load_earlier: ("message_id",),
    Chat.follow: ("message_id", "offset"),
    Sidebar.rename: ("conversation_id", "title"),
    Sidebar.delete: ("conversation_id",),
    Sidebar.restore: ("conversation_id",),
    Tail.fill_gap: ("message_id", "offset"),
}


class Tab:
    """A client of the event processor."""

    def __init__(self, processor: BaseStateEventProcessor, cookie: str) -> None:
        self._processor = processor
        self.cookie = cookie
        self.vars: dict[str, Any] = {}
        self.deltas: list[Mapping[str, Mapping[str, Any]]] = []

    async def call(self, handler: Any, path: str = "/chat", **payload: Any) -> None:
        event = Event(
            name=format_event_handler(handler),
            payload=payload,
            router_data={"pathname": path, "asPath": path, "headers": {"cookie": self.cookie}},
        )
        async for delta in self._processor.enqueue_stream_delta("tab", event):
            self.deltas.append(delta)
            for state, changes in delta.items():
                for name, value in changes.items():
                    self.vars[f"{state.rsplit('____', 1)[-1]}.{name.removesuffix(MARKER)}"] = value

    @property
    def refused(self) -> str:
        refusal = self.vars.get("notices.refusal")
        return refusal.code if refusal else ""


@asynccontextmanager
async def open_tab(cookie: str = "ada") -> AsyncIterator[Tab]:
    processor = BaseStateEventProcessor(middleware=RegistrationContext.get().app)
    processor.configure(state_manager=StateManagerMemory())
    async with processor:
        yield Tab(processor, cookie)


@pytest.fixture(autouse=True, scope="module")
def app() -> rx.App:
    """Reflex asks its app which handlers load a page (here, none) and what stands before events."""
    app = rx.App(enable_state=False)
    app.add_middleware(OwnerOnly(), index=0)
    return app


def public_handlers() -> set[str]:
    return {
        f"{state.__name__}.{name}"
        for state in (Chat, Sidebar, Tail, Session, Notices, Dashboard)
        for name in state.event_handlers
        # Reflex's own; it sets only vars that have a setter, and none of ours has one.
        if name in vars(state) and name != "setvar"
    }


def test_every_handler_that_takes_something_is_tried_with_junk() -> None:
    tried = {name for handler in HANDLERS for name in [handler.fn.__qualname__]}
    without_arguments = {
        "Chat.load",
        "Sidebar.show_more",
        "Session.leave_if_signed_in",
        "Notices.dismiss",
        "Dashboard.load",
    }
    assert public_handlers() == tried | without_arguments


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.fn.__qualname__)
async def test_junk_is_refused_and_reaches_nothing(domain: Recorded, handler: Any) -> None:
    for junk in JUNK:
        async with open_tab() as tab:
            await tab.call(handler, "/chat", **dict.fromkeys(HANDLERS[handler], junk))
        for name, arguments in domain.calls:
            # Text and model names go to the guards as they are: refusing them is their business.
            assert name in {"send", "open"} or all(
                isinstance(argument, UUID | str | int) and not isinstance(argument, bool)
                for argument in arguments
            ), (name, junk)
            if name not in {"send", "open"}:
                assert isinstance(arguments[0], UUID), (name, junk)


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.fn.__qualname__)
async def test_unexpected_arguments_end_as_a_notice(domain: Recorded, handler: Any) -> None:
    async with open_tab() as tab:
        await tab.call(handler, surprise=1)
        assert tab.refused == "unavailable"
    assert domain.calls == []


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.fn.__qualname__)
async def test_nobody_gets_anywhere_without_a_session(domain: Recorded, handler: Any) -> None:
    async with open_tab(cookie="nobody") as tab:
        good = {"text": "hi", "nonce": "n", "title": "t", "model": "m", "offset": 0}
        await tab.call(handler, **{name: good.get(name, ID) for name in HANDLERS[handler]})
        assert tab.refused == "unauthenticated"
    assert domain.calls == []


async def test_a_state_is_emptied_before_somebody_else_sees_it(domain: Recorded) -> None:
    domain.cookies["eve"] = principal(UUID(int=666))
    async with open_tab() as tab:
        await tab.call(Chat.load, path=f"/chat/{ID}")
        assert "stored before" in str(tab.vars)
        tab.cookie, tab.deltas = "eve", []
        await tab.call(rx.State.hydrate_and_load)
        assert tab.deltas
        assert "stored before" not in str(tab.deltas)
        assert str(ADA) not in str(tab.deltas)


async def test_another_users_state_is_not_used(domain: Recorded) -> None:
    domain.cookies["eve"] = principal(UUID(int=666))
    async with open_tab() as tab:
        await tab.call(Chat.load)
        assert tab.vars["session.owner"] == str(ADA)
        tab.cookie = "eve"
        await tab.call(Chat.stop, message_id=ID)
        assert tab.refused == "unauthenticated"
    assert not any(name == "stop" for name, _ in domain.calls)


async def test_a_refused_send_says_why_and_for_which_attempt(domain: Recorded) -> None:
    domain.refuse = QuotaExceeded(retry_at=NOW)
    async with open_tab() as tab:
        await tab.call(Chat.load)
        await tab.call(Chat.send, text="hello", conversation="", nonce="n1")
        refusal = tab.vars["notices.refusal"]
        assert (refusal.code, refusal.nonce) == ("quota_exceeded", "n1")
        assert refusal.retry_at == NOW.isoformat()
        # The composer empties itself only for an accepted attempt.
        assert tab.vars.get("chat.accepted", "") == ""


async def test_a_reply_streams_without_the_transcript(domain: Recorded) -> None:
    domain.words = tuple(f"word {n} " for n in range(40))
    async with open_tab() as tab:
        await tab.call(Chat.load, path=f"/chat/{ID}")
        assert "stored before" in str(tab.vars["chat.page"])
        tab.deltas.clear()
        await tab.call(Chat.send, text="hello", conversation=ID, nonce="n1")
        assert tab.vars["chat.accepted"] == "n1"
        assert tab.vars["chat.reply"].status == "done"
        assert tab.vars["chat.reply"].text is None
        assert "stored before" not in str(tab.deltas)


async def test_the_window_goes_out_by_itself_under_the_name_the_browser_knows(
    domain: Recorded,
) -> None:
    """The contract with reflex: `emit_delta` takes a state's full name and marked var names."""
    state, var = Tail.get_full_name(), "s" + MARKER
    domain.words = ("All of it at once.",)
    async with open_tab() as tab:
        await tab.call(Chat.load, path=f"/chat/{ID}")
        await tab.call(Chat.send, text="hello", conversation=ID, nonce="n1")
        windows = [delta for delta in tab.deltas if delta.get(state, {}).get(var, [""])[0]]
        assert windows == [{state: {var: ["00000000", 0, "All of it at once."]}}]


async def test_a_gap_is_filled_from_its_offset(domain: Recorded) -> None:
    async with open_tab() as tab:
        await tab.call(Tail.fill_gap, message_id=ID, offset=5)
        assert tab.vars["tail.g"] == ["00000000", 5, ", world"]
