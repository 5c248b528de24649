"""Requests are bounded in size, time and number before a route sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from aisaas.accounts.pictures import MAX_BYTES
from aisaas.api.request_limits import (
    ENVELOPE,
    MAX_FORM,
    MAX_HEADERS,
    MAX_TARGET,
    MAX_WEBHOOK,
    RequestLimits,
)
from aisaas.api.shares import Turns

FORM = "/api/session/sign-in"
Headers = list[tuple[bytes, bytes]]


class Client:
    """One request, whose body comes as the test says."""

    def __init__(
        self,
        path: str = FORM,
        *,
        address: str = "203.0.113.7",
        method: str = "POST",
        headers: Headers | None = None,
        query: bytes = b"",
    ) -> None:
        self.scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": headers or [],
            "client": (address, 4711),
            "http_version": "1.1",
        }
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.answer: list[Message] = []

    def brings(self, body: bytes, *, more: bool = False) -> None:
        self.coming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def receive(self) -> Message:
        return await self.coming.get()

    async def send(self, message: Message) -> None:
        self.answer.append(message)

    @property
    def status(self) -> int:
        return self.answer[0]["status"]

    @property
    def comes_back(self) -> bool:
        """Whether it is told when to try again."""
        return (b"retry-after", b"1") in self.answer[0]["headers"]

    @property
    def closes(self) -> bool:
        return (b"connection", b"close") in self.answer[0]["headers"]


class Routes:
    """What is behind the limits; it keeps the bodies it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            message = await receive()
            assert not message["more_body"], "a body that is in several pieces"
            self.bodies.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def routes() -> Routes:
    return Routes()


def limits(routes: Routes, **values: Any) -> RequestLimits:
    return RequestLimits(routes, trusted_proxies=values.pop("trusted_proxies", 0), **values)


def length(size: int) -> Headers:
    return [(b"content-length", str(size).encode())]


async def asked(app: RequestLimits, client: Client) -> Client:
    await app(client.scope, client.receive, client.send)
    return client


async def test_a_body_reaches_the_route_whole(routes: Routes) -> None:
    client = Client(headers=length(6))
    for part, more in ((b"ab", True), (b"cd", True), (b"ef", False)):
        client.brings(part, more=more)
    assert (await asked(limits(routes), client)).status == 200
    assert routes.bodies == [b"abcdef"]


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (FORM, MAX_FORM),
        ("/api/account/picture", MAX_BYTES + ENVELOPE),
        ("/api/webhooks/stripe", MAX_WEBHOOK),
    ],
)
async def test_each_path_has_its_size_to_the_byte(routes: Routes, path: str, limit: int) -> None:
    fits = Client(path, headers=length(limit))
    fits.brings(b"x" * limit)
    assert (await asked(limits(routes), fits)).status == 200
    # Refused by its header: not a byte is read.
    announced = await asked(limits(routes), Client(path, headers=length(limit + 1)))
    assert (announced.status, announced.closes) == (413, True)
    chunked = Client(path, headers=[(b"transfer-encoding", b"chunked")])
    chunked.brings(b"x" * limit, more=True)
    chunked.brings(b"x")
    assert (await asked(limits(routes), chunked)).status == 413
    assert routes.bodies == [b"x" * limit]


@pytest.mark.parametrize("size", ["-1", "1e3", "99999999999999999999999999", "9" * 5000, "x", "²"])
async def test_a_length_that_is_none_is_refused(routes: Routes, size: str) -> None:
    headers = [(b"content-length", size.encode("latin-1"))]
    assert (await asked(limits(routes), Client(headers=headers))).status == 413


async def test_pages_take_no_body(routes: Routes) -> None:
    with_body = Client("/login", method="GET", headers=length(1))
    assert (await asked(limits(routes), with_body)).status == 413
    without = Client("/login", method="GET", headers=length(0))
    assert (await asked(limits(routes), without)).status == 200


async def test_half_a_form_is_given_up_at_its_deadline(routes: Routes) -> None:
    client = Client(headers=length(500))
    client.brings(b"em", more=True)
    app = limits(routes, body_seconds=0.05)
    assert (await asked(app, client)).status == 408
    assert client.closes
    assert routes.bodies == []


async def test_a_client_that_goes_is_answered_nothing(routes: Routes) -> None:
    client = Client(headers=length(500))
    client.brings(b"em", more=True)
    client.coming.put_nowait({"type": "http.disconnect"})
    assert (await asked(limits(routes), client)).answer == []
    assert routes.bodies == []


async def test_the_oldest_unfinished_body_of_an_address_gives_way(routes: Routes) -> None:
    app = limits(routes, unfinished_per_address=3)
    stranger = [Client(headers=length(500)) for _ in range(5)]
    held = [asyncio.create_task(asked(app, client)) for client in stranger]
    await asyncio.gather(*held[:2])
    assert [client.status for client in stranger[:2]] == [503, 503]
    assert all(client.comes_back for client in stranger[:2])
    assert all(not task.done() for task in held[2:])
    # A complete form from there gets through, and so do forms from elsewhere.
    for address in ("203.0.113.7", "203.0.113.8"):
        someone = Client(address=address, headers=length(2))
        someone.brings(b"ok")
        assert (await asked(app, someone)).status == 200
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_behind_a_proxy_the_share_is_the_visitors(routes: Routes) -> None:
    app = limits(routes, unfinished_per_address=1, trusted_proxies=1)

    def visitor(address: str) -> Client:
        return Client(headers=[*length(500), (b"x-forwarded-for", address.encode())])

    one, other, again = visitor("203.0.113.1"), visitor("203.0.113.2"), visitor("203.0.113.1")
    held = [asyncio.create_task(asked(app, client)) for client in (one, other, again)]
    await held[0]
    assert one.status == 503
    assert not held[1].done()
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (Client("/" + "a" * (MAX_TARGET - 1), method="GET"), 200),
        (Client("/" + "a" * MAX_TARGET, method="GET"), 414),
        (Client("/login", method="GET", query=b"a" * MAX_TARGET), 200),
        (Client("/login", method="GET", query=b"a" * (MAX_TARGET + 1)), 414),
        (Client("/login", method="GET", headers=[(b"a", b"b" * (MAX_HEADERS - 1))]), 200),
        (Client("/login", method="GET", headers=[(b"a", b"b" * MAX_HEADERS)]), 431),
    ],
    ids=["path", "long path", "query", "long query", "headers", "large headers"],
)
async def test_the_head_of_a_request_has_its_sizes(
    routes: Routes, client: Client, status: int
) -> None:
    assert (await asked(limits(routes), client)).status == status


async def test_an_answer_that_nobody_takes_is_given_up(routes: Routes) -> None:
    client = Client("/login", method="GET")

    async def never(_: Message) -> None:
        await asyncio.Event().wait()

    app = limits(routes, send_seconds=0.05)
    async with asyncio.timeout(10):
        await app(client.scope, client.receive, never)


async def test_scripts_are_answered_as_json(routes: Routes) -> None:
    headers: Sequence[tuple[bytes, bytes]] = [*length(99_999), (b"accept", b"application/json")]
    client = await asked(limits(routes), Client(headers=list(headers)))
    assert (b"content-type", b"application/json") in client.answer[0]["headers"]
    assert b'"code":"form_refused"' in client.answer[1]["body"]


# The rate


async def test_requests_within_the_rate_are_served_at_once(routes: Routes) -> None:
    app = limits(routes, requests=Turns(per_second=0.001, at_once=5, most_waiting=1))
    for _ in range(5):
        client = await asked(app, Client("/login", method="GET"))
        assert client.status == 200


async def test_a_flood_waits_for_itself_and_its_oldest_is_refused(routes: Routes) -> None:
    app = limits(routes, requests=Turns(per_second=0.001, at_once=1, most_waiting=2))
    assert (await asked(app, Client("/login", method="GET"))).status == 200
    flood = [Client("/login", method="GET") for _ in range(5)]
    waiting = [asyncio.create_task(asked(app, client)) for client in flood]
    async with asyncio.timeout(30):
        while not all(client.answer for client in flood[:3]):
            await asyncio.sleep(0.01)
    assert [client.status for client in flood[:3]] == [429, 429, 429]
    assert all(client.comes_back for client in flood[:3])
    assert flood[0].closes
    assert [client.answer for client in flood[3:]] == [[], []]
    # Other addresses and webhooks aren't kept waiting.
    assert (await asked(app, Client("/login", method="GET", address="203.0.113.8"))).status == 200
    assert (await asked(app, Client("/api/webhooks/stripe", method="GET"))).status == 200
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_requests_above_the_rate_are_served_when_their_turn_comes(routes: Routes) -> None:
    app = limits(routes, requests=Turns(per_second=50, at_once=1, most_waiting=10))
    clients = [Client("/login", method="GET") for _ in range(6)]
    await asyncio.gather(*(asked(app, client) for client in clients))
    assert [client.status for client in clients] == [200] * 6
