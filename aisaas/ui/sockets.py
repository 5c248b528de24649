"""The web sockets of pages: how many, how large, how fast, and whose.

A socket that doesn't open our namespace soon is closed. One that isn't signed in counts toward its
address, one that is counts toward its account, and in each share the oldest gives way; so a
stranger closes only strangers' sockets, and no user is locked out. Frames are checked by
`events.py`; a client that sends them faster than people and pages do is read more slowly, and
finally closed.

A tab is signed in once a handler has identified its user (`signed_in`). The state of any other tab
is dropped with its socket.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisaas.accounts.sessions import hash_token, token_from
from aisaas.api.client_address import address_in
from aisaas.api.shares import Rate, Shares, Turns
from aisaas.errors import Overloaded, Unavailable
from aisaas.observe.metrics import REFUSED_EARLY, SOCKETS_HERE
from aisaas.overload import Bulkhead
from aisaas.ui import events
from aisaas.ui.events import FrameRefused
from aisaas.ui.page_errors import page_errors

Forget = Callable[[str], Awaitable[None]]

# The opening comes in the round trip after the connection.
OPENING_SECONDS = 10.0
SEND_SECONDS = 15.0
# A page sends a handful at once, and then one for each click or keystroke.
EVENTS_PER_SECOND, EVENTS_AT_ONCE = 30.0, 150.0
# Together, those of one address that aren't signed in.
EVENTS_PER_SECOND_OF_ADDRESS, EVENTS_AT_ONCE_OF_ADDRESS = 200.0, 2_000.0
MOST_WAITED_SECONDS = 5.0
# New sockets of one address. An office whose server was restarted comes back within seconds.
SOCKETS_PER_SECOND, SOCKETS_AT_ONCE, SOCKETS_WAITING = 50.0, 100.0, 500
# Sessions that a tab was signed in with; theirs don't wait behind a stranger's.
MOST_KNOWN = 10_000
# A page of an earlier release may name a removed handler; no other client has a reason to.
MOST_REFUSED = 20
MAX_QUERY = 512
# For clients without a session.
MAX_FRAME = 16_384
# What an event needs around its text.
ENVELOPE = 65_536
# The longest form of a character in JSON.
BYTES_A_CHARACTER = 6

POLICY_VIOLATION, TOO_BIG, TRY_AGAIN_LATER = 1008, 1009, 1013
TOKEN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_QUERY_TOKEN = re.compile(r"(?:^|&)token=([^&]*)")
_UPDATE = f'{events.EVENT}["event",'
_NEW_TOKEN = f'{events.EVENT}["new_token",'
# What Reflex may keep of a request's headers, in the state of each tab.
KEPT_HEADERS = frozenset(
    {b"host", b"origin", b"user-agent", b"x-forwarded-for", b"x-forwarded-proto"}
)
_SOCKET_HEADERS = (b"sec-websocket-", b"upgrade", b"connection")
MAX_KEPT_HEADER = 512


_BY_SID: dict[str, _Socket] = {}


def signed_in(sid: str, user_id: UUID) -> None:
    """The tab with that socket belongs to an account; from now on it counts there."""
    socket = _BY_SID.get(sid)
    if socket is not None:
        socket.sockets.signed_in(socket, str(user_id))


class _Closed(Exception):
    def __init__(self, reason: str, code: int) -> None:
        self.reason = reason
        self.code = code
        super().__init__(reason)


class _Socket:
    """One open socket. `user` is the account it is signed in to, `expected` the known session it came
    with, `sid` what Socket.IO calls it."""

    def __init__(
        self,
        sockets: Sockets,
        address: str,
        token: str,
        session: str | None,
        longest: int,
        receive: Receive,
        send: Send,
    ) -> None:
        self.sockets = sockets
        self.address = address
        self.token = token
        self.session = session
        self.user = ""
        self.expected = ""
        self.sid = ""
        # When it has to have opened our namespace, by the loop's clock; 0 before it is connected.
        self.open_by = 0.0
        self.opened = False
        # Until its page has its first update it holds a place; this gives it back.
        self.loaded: Callable[[], None] | None = None
        self.refused = 0
        self.longest = longest
        self.rate = Rate(EVENTS_PER_SECOND, EVENTS_AT_ONCE)
        self.receive = receive
        self.send = send
        self._give_way = asyncio.get_running_loop().create_future()

    def give_way(self) -> None:
        if not self._give_way.done():
            self._give_way.set_result(None)

    async def frame(self, seconds: float | None) -> Message:
        """The next message. Raises _Closed when there is none in time, or the socket gives way."""
        message = asyncio.ensure_future(self.receive())
        try:
            await asyncio.wait(
                {message, self._give_way}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if self._give_way.done():
                raise _Closed("socket_gave_way", TRY_AGAIN_LATER)
            if not message.done():
                raise _Closed("socket_not_opened", POLICY_VIOLATION)
            return message.result()
        finally:
            message.cancel()


class Sockets:
    """The open sockets of this process.

    Args:
        per_address: how many of one address may be open that aren't signed in.
        per_user: how many of one account.
        most: of all.
    """

    def __init__(self, *, per_address: int, per_user: int, most: int) -> None:
        self._most = most
        self._strangers: Shares[_Socket] = Shares(per_address)
        # Not signed in yet, but with a session that was: strangers of their address can't end these.
        self._expected: Shares[_Socket] = Shares(per_user)
        self._users: Shares[_Socket] = Shares(per_user)
        self._open: dict[_Socket, None] = {}
        self._rates: dict[str, Rate] = {}
        self._known: dict[bytes, None] = {}
        self._turns = Turns(SOCKETS_PER_SECOND, SOCKETS_AT_ONCE, SOCKETS_WAITING)

    async def turn(self, address: str, session: str | None) -> bool:
        """Wait until that address may open another one, unless the session was seen signed in. False
        when too many have come since."""
        if self._known_session(session):
            return True
        return await self._turns.take(address)

    def _known_session(self, session: str | None) -> str:
        """A key for a session that was seen signed in here; empty for any other."""
        known = hash_token(session) if session else b""
        return known.hex() if known in self._known else ""

    def enter(self, socket: _Socket) -> bool:
        """False when there is no room and no socket may be closed to make some."""
        if len(self._open) >= self._most:
            stranger = next((each for each in self._open if not each.user), None)
            if stranger is None:
                return False
            self._end(stranger)
        self._open[socket] = None
        if expected := self._known_session(socket.session):
            socket.expected = expected
            self._end(self._expected.take(expected, socket))
        else:
            self._end(self._strangers.take(socket.address, socket))
        SOCKETS_HERE.inc()
        return True

    def leave(self, socket: _Socket) -> None:
        self._open.pop(socket, None)
        _BY_SID.pop(socket.sid, None)
        self._strangers.release(socket.address, socket)
        self._expected.release(socket.expected, socket)
        self._users.release(socket.user, socket)
        if not self._strangers.count(socket.address):
            self._rates.pop(socket.address, None)
        SOCKETS_HERE.dec()

    def signed_in(self, socket: _Socket, user: str) -> None:
        if socket.user == user:
            return
        self._strangers.release(socket.address, socket)
        self._expected.release(socket.expected, socket)
        self._users.release(socket.user, socket)
        socket.user = user
        if socket.session:
            known = hash_token(socket.session)
            self._known.pop(known, None)
            self._known[known] = None
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        self._end(self._users.take(user, socket))

    def wait_of(self, socket: _Socket) -> float:
        """How long its next event has to wait."""
        wait = socket.rate.take()
        if socket.user:
            return wait
        rate = self._rates.get(socket.address)
        if rate is None:
            rate = Rate(EVENTS_PER_SECOND_OF_ADDRESS, EVENTS_AT_ONCE_OF_ADDRESS)
            self._rates[socket.address] = rate
        return max(wait, rate.take())

    def __len__(self) -> int:
        return len(self._open)

    def _end(self, socket: _Socket | None) -> None:
        if socket is not None:
            # Its place is free from now on, not when its task has heard of it.
            self._open.pop(socket, None)
            socket.give_way()


class SocketGate:
    """ASGI middleware around the pages' web sockets.

    Args:
        cookie: the name of the session's cookie, the only one that the pages' handlers see.
        max_message_chars: of the longest message that a user may send.
        forget: drops what the server keeps of a tab, by its token.
        tabs: how many may load at once. A tab that finds no place in time connects again by itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        sockets: Sockets,
        trusted_proxies: int,
        cookie: str,
        max_message_chars: int,
        forget: Forget,
        tabs: Bulkhead,
        opening_seconds: float = OPENING_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._app = app
        self._sockets = sockets
        self._tabs = tabs
        self._trusted_proxies = trusted_proxies
        self._cookie = cookie
        self._longest = max_message_chars * BYTES_A_CHARACTER + ENVELOPE
        self._forget = forget
        self._opening_seconds = opening_seconds
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        token = _token_in(scope)
        if not token or not scope["path"].startswith(events.NAMESPACE):
            await _refuse(scope, send, 400, "socket_unknown")
            return
        address = address_in(scope, self._trusted_proxies)
        session = token_from(Headers(scope=scope).get("cookie"), self._cookie)
        if not await self._sockets.turn(address, session):
            await _refuse(scope, send, 503, "socket_gave_way")
            return
        socket = _Socket(
            self._sockets,
            address,
            token,
            session,
            self._longest if session else MAX_FRAME,
            receive,
            send,
        )
        if not self._sockets.enter(socket):
            await _refuse(scope, send, 503, "sockets_full")
            return
        try:
            headers = _kept_headers(scope, self._cookie, session)
            await self._connected({**scope, "headers": headers}, socket)
        finally:
            self._sockets.leave(socket)
            _loaded(socket)
            if not socket.user:
                await self._forget(socket.token)

    async def _connected(self, scope: Scope, socket: _Socket) -> None:
        async def receive() -> Message:
            try:
                return await self._next(socket)
            except _Closed as end:
                REFUSED_EARLY.labels(end.reason).inc()
                # The client may have disconnected already.
                with suppress(RuntimeError, OSError, TimeoutError):
                    async with asyncio.timeout(self._send_seconds):
                        await socket.send({"type": "websocket.close", "code": end.code})
                return {"type": "websocket.disconnect", "code": end.code}

        async def send(message: Message) -> None:
            self._note(socket, message)
            try:
                async with asyncio.timeout(self._send_seconds):
                    await socket.send(message)
            except TimeoutError as error:
                REFUSED_EARLY.labels("answer_not_taken").inc()
                socket.give_way()
                raise OSError("the page doesn't read what it is sent") from error

        await self._app(scope, receive, send)

    async def _next(self, socket: _Socket) -> Message:
        """The next message that passes. Raises _Closed."""
        now = asyncio.get_running_loop().time
        if not socket.open_by:
            socket.open_by = now() + self._opening_seconds
            return await socket.receive()
        while True:
            message = await socket.frame(None if socket.opened else socket.open_by - now())
            if message["type"] != "websocket.receive":
                return message
            text = message.get("text")
            if text is None:
                raise _Closed("frame_unknown", POLICY_VIOLATION)
            # Bytes are at least as many as characters, and counting those costs nothing.
            if len(text) > socket.longest:
                raise _Closed("frame_too_large", TOO_BIG)
            await self._paced(socket)
            try:
                frame = events.checked(text, report=lambda t: _report(socket.address, t))
            except FrameRefused as refused:
                if refused.reason == events.PAGE_ERROR:
                    continue
                REFUSED_EARLY.labels(refused.reason).inc()
                socket.refused += 1
                if refused.closes or socket.refused > MOST_REFUSED:
                    raise _Closed("socket_misused", POLICY_VIOLATION) from None
                continue
            if frame.startswith(events.OPEN) and not socket.opened:
                socket.opened = True
                await self._load(socket)
            return {"type": "websocket.receive", "text": frame}

    async def _load(self, socket: _Socket) -> None:
        """Take a place until the page has its first update, which is most of the work for a tab.
        Raises _Closed when there is none in time."""
        try:
            await self._tabs.enter()
        except (Overloaded, Unavailable):
            raise _Closed("tabs_too_many", TRY_AGAIN_LATER) from None
        loop = asyncio.get_running_loop()
        began = loop.time()

        def loaded() -> None:
            over.cancel()
            self._tabs.leave(loop.time() - began)

        socket.loaded = loaded
        # A page that gets none, for whatever reason, holds its place no longer than this.
        over = loop.call_later(self._opening_seconds, _loaded, socket)

    async def _paced(self, socket: _Socket) -> None:
        wait = self._sockets.wait_of(socket)
        if wait > MOST_WAITED_SECONDS:
            raise _Closed("events_too_fast", POLICY_VIOLATION)
        if wait:
            await asyncio.sleep(wait)

    def _note(self, socket: _Socket, message: Message) -> None:
        """What the server tells the tab of its names."""
        text = message.get("text") or ""
        if not socket.sid and text.startswith(events.OPEN):
            socket.sid = json.loads(text[len(events.OPEN) :])["sid"]
            _BY_SID[socket.sid] = socket
        elif text.startswith(_UPDATE):
            _loaded(socket)
        elif text.startswith(_NEW_TOKEN):
            socket.token = json.loads(text[len(events.EVENT) :])[1]


def _loaded(socket: _Socket) -> None:
    if socket.loaded is not None:
        loaded, socket.loaded = socket.loaded, None
        loaded()


def _report(address: str, text: object) -> None:
    page_errors().report(address, text)


def _token_in(scope: Scope) -> str:
    """The tab's own name for itself; it is a key of ours, so it has to look like one of its kind."""
    query = scope["query_string"]
    if len(query) > MAX_QUERY:
        return ""
    found = _QUERY_TOKEN.findall(query.decode("latin-1"))
    return found[0] if len(found) == 1 and TOKEN.match(found[0]) else ""


def _kept_headers(scope: Scope, cookie: str, session: str | None) -> list[tuple[bytes, bytes]]:
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if (name in KEPT_HEADERS and len(value) <= MAX_KEPT_HEADER)
        or name.startswith(_SOCKET_HEADERS)
    ]
    if session:
        kept.append((b"cookie", f"{cookie}={session}".encode("latin-1", "replace")))
    return kept


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    REFUSED_EARLY.labels(reason).inc()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})
