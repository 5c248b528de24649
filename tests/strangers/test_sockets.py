"""Web sockets of pages: how many, how large, how fast, and whose. Without a server; what is behind the
gate gets exactly what Reflex would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.types import Message, Receive, Scope, Send

import aisaas.aisaas  # noqa: F401 - the handlers that the gate lets through are those of the app
from aisaas import overload
from aisaas.observe.outages import Outages
from aisaas.overload import Bulkhead
from aisaas.ui import events, sockets
from aisaas.ui.sockets import (
    ENVELOPE,
    MAX_FRAME,
    MAX_QUERY,
    MOST_REFUSED,
    POLICY_VIOLATION,
    TOO_BIG,
    TRY_AGAIN_LATER,
    SocketGate,
    Sockets,
    signed_in,
)

COOKIE = "aisaas_development_session"
HYDRATE = {"event": {"name": events.CONNECTED, "payload": {}, "router_data": {"pathname": "/"}}}
OPENING = events.OPEN + json.dumps(HYDRATE)
CHARS = 1_000


class Page:
    """One socket, from the page's side."""

    def __init__(self, address: str, query: bytes, headers: dict[bytes, bytes]) -> None:
        self.scope: Scope = {
            "type": "websocket",
            "path": "/_event/",
            "query_string": query,
            "headers": list(headers.items()),
            "client": (address, 4711),
            "extensions": {"websocket.http.response": {}},
        }
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.received: list[Message] = []
        self.task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()

    def sends(self, text: str) -> None:
        self.coming.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self) -> Message:
        return await self.coming.get()

    async def send(self, message: Message) -> None:
        self.received.append(message)

    @property
    def code(self) -> int | None:
        """Why it was closed."""
        return next((m["code"] for m in self.received if m["type"] == "websocket.close"), None)

    @property
    def status(self) -> int | None:
        """How it was refused."""
        return next((m["status"] for m in self.received if "status" in m), None)

    async def ended(self) -> None:
        assert self.task is not None
        async with asyncio.timeout(20):
            await self.task


class Reflex:
    """What is behind the gate: accepts, names the socket, and keeps what it is sent."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.frames: list[str] = []
        self.sids: dict[str, str] = {}
        self.new_token = ""
        self.updates = True
        self.got = asyncio.Condition()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message["text"].startswith(events.OPEN):
                token = scope["query_string"].decode().rpartition("=")[2]
                sid = self.sids[token] = uuid4().hex
                await send(_text(f'{events.OPEN}{{"sid":"{sid}"}}'))
                if self.updates:
                    await send(_text(f'{events.EVENT}["event",{{}}]'))
                if self.new_token:
                    await send(_text(f'{events.EVENT}["new_token","{self.new_token}"]'))
            async with self.got:
                self.frames.append(message["text"])
                self.got.notify_all()

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(20), self.got:
            await self.got.wait_for(lambda: bool(happened()))


def _text(text: str) -> Message:
    return {"type": "websocket.send", "text": text}


class World:
    def __init__(self, undo: AsyncExitStack, **shares: int) -> None:
        self.reflex = Reflex()
        self.sockets = Sockets(**({"per_address": 5, "per_user": 2, "most": 100} | shares))
        self.tabs = Bulkhead("tabs", places=100)
        self.forgotten: list[str] = []
        self._undo = undo

    async def forget(self, token: str) -> None:
        self.forgotten.append(token)

    def connects(
        self,
        address: str = "203.0.113.7",
        *,
        token: str | None = None,
        cookie: str = "",
        **gate: Any,
    ) -> Page:
        values: dict[str, Any] = {"opening_seconds": 30.0, "trusted_proxies": 0, "tabs": self.tabs}
        values |= gate
        app = SocketGate(
            self.reflex,
            sockets=self.sockets,
            cookie=COOKIE,
            max_message_chars=CHARS,
            forget=self.forget,
            **values,
        )
        query = f"EIO=4&transport=websocket&token={token or uuid4()}".encode()
        headers = {b"cookie": cookie.encode()} if cookie else {}
        page = Page(address, query, headers)
        page.coming.put_nowait({"type": "websocket.connect"})
        page.task = asyncio.create_task(app(page.scope, page.receive, page.send))
        self._undo.push_async_callback(_gone, page)
        return page

    async def opened(self, address: str = "203.0.113.7", **more: Any) -> tuple[Page, str]:
        """A page that has opened our namespace, and the name of its socket."""
        token = more.pop("token", None) or str(uuid4())
        page = self.connects(address, token=token, **more)
        page.sends(OPENING)
        await self.reflex.until(lambda: token in self.reflex.sids)
        return page, self.reflex.sids[token]


async def _gone(page: Page) -> None:
    page.coming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await page.ended()


@asynccontextmanager
async def world(**shares: int) -> AsyncGenerator[World]:
    async with AsyncExitStack() as undo:
        yield World(undo, **shares)


# Opening


async def test_a_page_opens_its_namespace_and_reflex_sees_a_place_of_bounded_size() -> None:
    async with world() as at:
        await at.opened()
        assert at.reflex.frames == [
            events.OPEN
            + '{"event":{"name":"reflex___state____state.hydrate_and_load","payload":{},'
            '"router_data":{"pathname":"/","asPath":"/","query":{}}}}'
        ]


async def test_a_socket_that_opens_nothing_is_closed() -> None:
    async with world() as at:
        page = at.connects(opening_seconds=0.05)
        await page.ended()
        assert page.code == POLICY_VIOLATION


async def test_a_socket_that_only_answers_pings_is_closed_too() -> None:
    async with world() as at:
        page = at.connects(opening_seconds=0.2)
        assert page.task is not None
        async with asyncio.timeout(20):
            while not page.task.done():
                page.sends(events.PONG)
                await asyncio.sleep(0.05)
        assert page.code == POLICY_VIOLATION


@pytest.mark.parametrize(
    "token",
    ["", "x", "a" * 36, str(UUID(int=1)).upper() + "0", f"{UUID(int=1)}%00", "../" * 9, "é" * 36],
)
async def test_a_tab_names_itself_like_a_tab_or_is_refused(token: str) -> None:
    async with world() as at:
        page = at.connects(token=token or "none")
        await page.ended()
        assert (page.status, at.reflex.scopes, len(at.sockets)) == (400, [], 0)


async def test_a_long_query_or_two_tokens_are_refused() -> None:
    async with world() as at:
        for query in (f"&x={'a' * MAX_QUERY}", f"&token={UUID(int=1)}"):
            page = at.connects(token=f"{UUID(int=2)}{query}")
            await page.ended()
            assert page.status == 400


async def test_reflex_keeps_no_header_but_the_few_and_no_cookie_but_ours() -> None:
    async with world() as at:
        page, _ = await at.opened(cookie=f"other=1; {COOKIE}=secret; third=2")
        page.scope["headers"].append((b"x-filler", b"a" * 9_000))
        assert dict(at.reflex.scopes[0]["headers"]) == {b"cookie": f"{COOKIE}=secret".encode()}


# Frames


async def test_frames_have_a_size_that_a_session_raises() -> None:
    longest = CHARS * 6 + ENVELOPE
    for cookie, most in (("", MAX_FRAME), (f"{COOKIE}=x", longest)):
        async with world() as at:
            page, _ = await at.opened(cookie=cookie)
            page.sends(f'{events.EVENT}["event",{" " * (most - 30)}{{}}]')
            page.sends("x" * (most + 1))
            await page.ended()
            assert page.code == TOO_BIG


@pytest.mark.parametrize(
    "frame",
    [
        "garbage",
        "0{}",
        "2",
        "40",
        "40/other,{}",
        f"{events.OPEN}[]",
        f"{events.OPEN}{{",
        events.EVENT,
        f"{events.EVENT}{'[' * 5_000}",
        f'{events.EVENT}["event",{"1" * 6_000}]',
        f'{events.EVENT}["event",NaN]',
        f'{events.EVENT}["event",1e999,{{}}]',
        f'{events.EVENT}["ping"]',
        f"{events.EVENT}{{}}",
        f"45{events.NAMESPACE},1-[]",
        f"42{events.NAMESPACE},7[]",
    ],
)
async def test_a_frame_that_no_page_sends_ends_the_socket(frame: str) -> None:
    async with world() as at:
        page, _ = await at.opened()
        page.sends(frame)
        await page.ended()
        assert page.code == POLICY_VIOLATION
        assert len(at.reflex.frames) == 1


async def test_bytes_end_the_socket() -> None:
    async with world() as at:
        page, _ = await at.opened()
        page.coming.put_nowait({"type": "websocket.receive", "bytes": b"4", "text": None})
        await page.ended()
        assert page.code == POLICY_VIOLATION


async def test_unknown_handlers_are_dropped_and_so_many_end_the_socket() -> None:
    async with world() as at:
        page, _ = await at.opened()
        for _ in range(MOST_REFUSED):
            page.sends(f'{events.EVENT}["event",{{"name":"gone","payload":{{}}}}]')
        page.sends(events.PONG)
        await at.reflex.until(lambda: events.PONG in at.reflex.frames)
        assert page.code is None
        page.sends(f'{events.EVENT}["event",{{"name":"gone","payload":{{}}}}]')
        await page.ended()
        assert page.code == POLICY_VIOLATION
        assert at.reflex.frames[1:] == [events.PONG]


async def test_who_floods_is_read_slowly_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with world() as at:
        page, _ = await at.opened()
        monkeypatch.setattr(sockets.asyncio, "sleep", sleep)
        sent = int(sockets.EVENTS_AT_ONCE) + 20
        for _ in range(sent):
            page.sends(events.PONG)
        await at.reflex.until(lambda: len(at.reflex.frames) == sent + 1)
        monkeypatch.undo()
    assert waits
    assert all(0 < wait < 1 for wait in waits)


# Shares


async def test_the_oldest_stranger_of_an_address_gives_way() -> None:
    async with world(per_address=2) as at:
        first, _ = await at.opened()
        second, _ = await at.opened()
        elsewhere, _ = await at.opened("203.0.113.8")
        third, _ = await at.opened()
        await first.ended()
        assert first.code == TRY_AGAIN_LATER
        assert [page.code for page in (second, third, elsewhere)] == [None] * 3


async def test_strangers_close_nobody_who_is_signed_in_behind_the_same_address() -> None:
    async with world(per_address=2, per_user=2) as at:
        mine, sid = await at.opened()
        signed_in(sid, UUID(int=1))
        for _ in range(6):
            await at.opened()
        assert mine.code is None
        # Signing in makes the place free for another stranger.
        assert len(at.sockets) == 3


async def test_strangers_do_not_close_a_new_tab_of_a_session_that_was_signed_in() -> None:
    cookie = f"{COOKIE}={'s' * 43}"
    async with world(per_address=2, per_user=2) as at:
        _, sid = await at.opened(cookie=cookie)
        signed_in(sid, UUID(int=1))
        tabs = [(await at.opened(cookie=cookie))[0] for _ in range(2)]
        for _ in range(6):
            await at.opened()
        assert [tab.code for tab in tabs] == [None, None]
        # Such a session has a share too, in which its own oldest tab gives way.
        newest, _ = await at.opened(cookie=cookie)
        await tabs[0].ended()
        assert tabs[0].code == TRY_AGAIN_LATER
        assert (tabs[1].code, newest.code) == (None, None)


async def test_the_oldest_tab_of_an_account_gives_way() -> None:
    async with world(per_address=10, per_user=2) as at:
        tabs: list[Page] = []
        for _ in range(3):
            page, sid = await at.opened()
            signed_in(sid, UUID(int=1))
            signed_in(sid, UUID(int=1))
            tabs.append(page)
        other, sid = await at.opened()
        signed_in(sid, UUID(int=2))
        await tabs[0].ended()
        assert tabs[0].code == TRY_AGAIN_LATER
        assert [page.code for page in (*tabs[1:], other)] == [None] * 3


async def test_when_all_places_are_taken_a_stranger_gives_way_and_else_nobody_is_let_in() -> None:
    async with world(per_address=9, per_user=9, most=2) as at:
        mine, sid = await at.opened()
        signed_in(sid, UUID(int=1))
        stranger, _ = await at.opened("203.0.113.8")
        also_mine, sid = await at.opened()
        signed_in(sid, UUID(int=1))
        await stranger.ended()
        assert stranger.code == TRY_AGAIN_LATER
        refused = at.connects("203.0.113.9")
        await refused.ended()
        assert refused.status == 503
        assert (mine.code, also_mine.code, len(at.sockets)) == (None, None, 2)


async def test_sockets_of_an_address_are_let_in_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_PER_SECOND", 0.001)
    monkeypatch.setattr(sockets, "SOCKETS_AT_ONCE", 2.0)
    monkeypatch.setattr(sockets, "SOCKETS_WAITING", 1)
    async with world() as at:
        await at.opened()
        await at.opened()
        waiting, newer = at.connects(), at.connects()
        await waiting.ended()
        assert waiting.status == 503
        assert newer.received == []
        # Everybody else comes in at once.
        await at.opened("203.0.113.8")
        assert newer.task is not None
        newer.task.cancel()
        await asyncio.gather(newer.task, return_exceptions=True)
        newer.task = asyncio.create_task(asyncio.sleep(0))


async def test_a_session_that_was_seen_signed_in_does_not_wait_behind_strangers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_PER_SECOND", 0.001)
    monkeypatch.setattr(sockets, "SOCKETS_AT_ONCE", 1.0)
    async with world() as at:
        _, sid = await at.opened(cookie=f"{COOKIE}=mine")
        signed_in(sid, UUID(int=1))
        await at.opened(cookie=f"{COOKIE}=mine")
        forged = at.connects(cookie=f"{COOKIE}=forged")
        await at.opened(cookie=f"{COOKIE}=mine")
        assert forged.received == []
        assert forged.task is not None
        forged.task.cancel()
        await asyncio.gather(forged.task, return_exceptions=True)
        forged.task = asyncio.create_task(asyncio.sleep(0))


async def test_a_tab_that_is_not_signed_in_is_forgotten_with_its_socket() -> None:
    async with world() as at:
        stranger, mine = str(uuid4()), str(uuid4())
        page, _ = await at.opened(token=stranger)
        await _gone(page)
        tab, sid = await at.opened(token=mine)
        signed_in(sid, UUID(int=1))
        await _gone(tab)
        assert at.forgotten == [stranger]


async def test_a_duplicated_tab_is_forgotten_by_the_name_it_was_given() -> None:
    async with world() as at:
        at.reflex.new_token = str(uuid4())
        page, _ = await at.opened()
        await _gone(page)
        assert at.forgotten == [at.reflex.new_token]


async def test_nothing_is_left_of_sockets_that_have_gone() -> None:
    async with world() as at:
        pages = [await at.opened() for _ in range(3)]
        for page, _ in pages:
            await _gone(page)
        assert len(at.sockets) == 0
        assert not any(sid in sockets._BY_SID for _, sid in pages)  # pyright: ignore[reportPrivateUsage]
        signed_in(pages[0][1], UUID(int=1))


async def test_a_page_that_reads_nothing_is_given_up() -> None:
    async with world() as at:
        page = at.connects(send_seconds=0.05)

        async def never(_: Message) -> None:
            await asyncio.Event().wait()

        page.send = never  # pyright: ignore[reportAttributeAccessIssue]
        assert page.task is not None
        page.task.cancel()
        gate = SocketGate(
            at.reflex,
            sockets=at.sockets,
            trusted_proxies=0,
            cookie=COOKIE,
            max_message_chars=CHARS,
            forget=at.forget,
            tabs=at.tabs,
            send_seconds=0.05,
        )
        with pytest.raises(OSError, match="doesn't read"):
            await gate(page.scope, page.receive, never)
        assert len(at.sockets) == 0
        page.task = asyncio.create_task(asyncio.sleep(0))


async def test_a_tab_that_finds_no_place_to_load_in_time_is_closed_and_may_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as at:
        at.reflex.updates = False
        first, _ = await at.opened(tabs=(tabs := Bulkhead("tabs", places=1)))
        # An outage of another test may not be over yet.
        monkeypatch.setattr(overload, "OUTAGES", Outages())
        monkeypatch.setattr(overload, "WAIT_SECONDS", 0.05)
        second = at.connects(tabs=tabs)
        second.sends(OPENING)
        await second.ended()
        assert second.code == TRY_AGAIN_LATER
        # Reflex has seen nothing of it.
        assert len(at.reflex.frames) == 1
        await _gone(first)
        await at.opened(tabs=tabs)


async def test_a_tab_gives_its_place_back_with_its_first_update_or_after_a_while() -> None:
    async with world() as at:
        tabs = Bulkhead("tabs", places=1)
        for _ in range(3):
            await at.opened(tabs=tabs)
        at.reflex.updates = False
        for _ in range(3):
            await at.opened(tabs=tabs, opening_seconds=0.05)
