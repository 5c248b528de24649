"""A browser tab without a browser: signs up over HTTP, speaks to the socket, counts every byte."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from websockets.asyncio.client import ClientConnection, connect

ROOT = "reflex___state____state"
CHAT = f"{ROOT}.aisaas___ui___chat___state____chat"
TAIL = f"{ROOT}.aisaas___ui___chat___stream____tail"
MARKER = "_rx_state_"
NAMESPACE = "/_event"


async def sign_up(url: str, email: str) -> str:
    """A new account; the value of the Cookie header of its session."""
    form = {
        "full_name": "Wire Test",
        "email": email,
        "password": "a password for a test",
    }
    headers = {"Origin": url, "Accept": "application/json"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/api/session/sign-up", data=form, headers=headers)
        answer.raise_for_status()
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


class Tab:
    """One tab: its vars as the server sent them, and the reply as a browser would put it together."""

    def __init__(self, socket: ClientConnection, path: str) -> None:
        self._socket = socket
        self.path = path
        self.vars: dict[str, dict[str, Any]] = {}
        self.frames: list[tuple[float, int]] = []
        self.windows: list[tuple[float, int, str]] = []
        self.text = ""
        self._changed = asyncio.Condition()

    @property
    def received(self) -> int:
        """Bytes of all frames so far, without the few of the web socket's own framing."""
        return sum(size for _, size in self.frames)

    @property
    def client_port(self) -> int:
        """Our end of the connection."""
        return self._socket.local_address[1]

    def var(self, state: str, name: str) -> Any:
        return self.vars.get(state, {}).get(name + MARKER)

    async def emit(self, handler: str, **payload: Any) -> None:
        event = {"name": handler, "payload": payload, "router_data": self._router_data()}
        await self._socket.send(f"42{NAMESPACE},{json.dumps(['event', event])}")

    async def until(self, happened: Callable[[], object], seconds: float = 30) -> None:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: bool(happened()))

    async def send(self, text: str, conversation: str = "") -> None:
        named = {"nonce": uuid4().hex, "model": self.var(CHAT, "model")}
        await self.emit(f"{CHAT}.send", text=text, conversation=conversation, **named)

    def begin_anew(self) -> None:
        """Forget the reply that was followed, for the next one."""
        self.windows.clear()
        self.text = ""
        self.vars[CHAT].pop("reply" + MARKER, None)

    def status(self) -> str:
        return (self.var(CHAT, "reply") or {}).get("status", "")

    async def open(self) -> None:
        event = {
            "name": f"{ROOT}.hydrate_and_load",
            "payload": {},
            "router_data": self._router_data(),
        }
        await self._socket.send(f"40{NAMESPACE},{json.dumps({'event': event})}")

    async def closed(self) -> int | None:
        """Wait until the server has closed the connection; its code for why."""
        await self._socket.wait_closed()
        return self._socket.close_code

    async def read(self) -> None:
        async for frame in self._socket:
            if not isinstance(frame, str):
                continue
            self.frames.append((time.monotonic(), len(frame.encode())))
            if frame == "2":
                await self._socket.send("3")
            elif frame.startswith(f"42{NAMESPACE},"):
                name, body = json.loads(frame.removeprefix(f"42{NAMESPACE},"))
                if name == "event":
                    await self._apply(body)

    async def _apply(self, update: dict[str, Any]) -> None:
        for state, changes in update.get("delta", {}).items():
            self.vars.setdefault(state, {}).update(changes)
            for piece in ("s", "g"):
                if state == TAIL and changes.get(piece + MARKER, [""])[0]:
                    self._merge(*changes[piece + MARKER])
        async with self._changed:
            self._changed.notify_all()

    def _merge(self, _key: str, offset: int, text: str) -> None:
        self.windows.append((time.monotonic(), offset, text))
        if offset <= len(self.text):
            self.text += text[len(self.text) - offset :]

    def _router_data(self) -> dict[str, Any]:
        return {"pathname": self.path, "asPath": self.path, "query": {}}


@asynccontextmanager
async def open_tab(
    url: str, cookie: str, path: str = "/chat", token: str | None = None
) -> AsyncGenerator[Tab]:
    address = f"{url.replace('http', 'ws', 1)}{NAMESPACE}/?EIO=4&transport=websocket"
    address += f"&token={token or uuid4()}"
    headers = {"Cookie": cookie, "Origin": url}
    async with connect(
        address, additional_headers=headers, compression=None, max_size=None
    ) as socket:
        tab = Tab(socket, path)
        reader = asyncio.create_task(tab.read())
        try:
            await tab.open()
            yield tab
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
