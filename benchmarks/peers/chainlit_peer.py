"""Listeners of Chainlit's chat page, without the page: they speak to its socket as its front end does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.levels import Candidate, Listener, Token, prompt
from benchmarks.peers.endpoint import endpoint
from childprocess.ports import HOST
from childprocess.processes import Process
from devstack.stack import Stack

REQUIREMENTS = ("chainlit==2.12.0", "openai==2.8.1")
APP = Path(__file__).with_name("chainlit_app.py")
MARGIN_SECONDS = 15


class ChainlitListener(Listener):
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def listen(self, seconds: int) -> list[Token]:
        message = {
            "id": str(uuid4()),
            "threadId": "",
            "name": "User",
            "type": "user_message",
            "output": prompt(seconds),
            "createdAt": "2026-01-01T00:00:00Z",
        }
        await self._emit("client_message", {"message": message, "fileReferences": []})
        found: list[Token] = []
        async with asyncio.timeout(seconds + MARGIN_SECONDS):
            while True:
                name, body = await self._event()
                # The first token comes with the message's beginning.
                text = {"stream_start": "output", "stream_token": "token"}.get(name)
                if text is not None:
                    arrived = time.monotonic()
                    found += [Token.of(stamp, arrived) for stamp in body[text].split()]
                elif name == "task_end":
                    return found

    async def begin(self) -> None:
        """Open the session, as the page does when it is loaded."""
        session = {"clientType": "webapp", "sessionId": str(uuid4()), "userEnv": "{}"}
        await self._socket.send(f"40{json.dumps(session)}")
        while not (await self._frame()).startswith("40"):
            pass
        await self._emit("connection_successful")

    async def _emit(self, name: str, *values: Any) -> None:
        await self._socket.send(f"42{json.dumps([name, *values])}")

    async def _event(self) -> tuple[str, Any]:
        while True:
            frame = await self._frame()
            if frame.startswith("42"):
                name, *values = json.loads(frame[2:])
                return name, values[0] if values else None

    async def _frame(self) -> str:
        frame = await self._socket.recv(decode=True)
        assert isinstance(frame, str)
        self.received += len(frame)
        if frame == "2":
            await self._socket.send("3")
        return frame


class Chainlit(Candidate):
    def __init__(self, port: int, process: Process) -> None:
        self._url = f"ws://{HOST}:{port}/ws/socket.io/?EIO=4&transport=websocket"
        self._process = process

    @property
    def pids(self) -> Iterable[int]:
        return [self._process.pid] if self._process.pid is not None else []

    async def listeners(self, count: int) -> AsyncGenerator[Sequence[Listener]]:
        async with AsyncExitStack() as sockets:
            opened = [
                ChainlitListener(
                    await sockets.enter_async_context(
                        connect(self._url, compression=None, max_size=None)
                    )
                )
                for _ in range(count)
            ]
            for each in opened:
                await each.begin()
            yield opened


@contextmanager
def chainlit(folder: Path, stack: Stack) -> Generator[Chainlit]:
    """It is installed into an environment of its own, and runs inside the block."""
    environment = folder / "chainlit"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)  # noqa: S603
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)  # noqa: S603

    def command(port: int) -> list[str]:
        address = ("--host", HOST, "--port", str(port))
        return [str(python), "-m", "chainlit", "run", str(APP), "--headless", *address]

    env = {"CHAINLIT_APP_ROOT": str(environment), "HOME": str(environment)}
    with endpoint(
        "chainlit", command, folder=folder, stack=stack, cwd=environment, env=env
    ) as made:
        yield Chainlit(*made)
