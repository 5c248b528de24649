"""The network between a browser and the product, which can be cut, refused, silenced, and restored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

HOST = "127.0.0.1"
CHUNK = 65_536

Answer = TypeVar("Answer")


class Network:
    """One address before one or several servers, round robin; runs in a thread of its own.

    `cut` ends every connection; `refuse` also refuses new ones; `freeze` lets nothing through and
    ends nothing; `forget` does that to the connections there are, for good, and new ones work;
    `restore` undoes `refuse` and `freeze`, and ends what was forgotten.
    """

    def __init__(self, targets: Sequence[int]) -> None:
        self.targets = list(targets)
        self.port = 0
        self.served: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._flowing = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        self._call(self._flowing.set)
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        self._call(self._cut)

    def refuse(self) -> None:
        self._run(self._stop_listening())
        self._call(self._cut)

    def freeze(self) -> None:
        self._call(self._flowing.clear)

    def forget(self) -> None:
        self._call(lambda: [connection.flowing.clear() for connection in self._open])

    def restore(self) -> None:
        self._run(self._listen())
        self._call(self._flowing.set)
        self._call(self._end_forgotten)

    # In the thread

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _call(self, work: Callable[[], object]) -> None:
        async def called() -> None:
            work()

        self._run(called())

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _cut(self) -> None:
        for connection in self._open:
            connection.end()

    def _end_forgotten(self) -> None:
        for connection in self._open:
            if not connection.flowing.is_set():
                connection.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        for _ in self.targets:
            target = self.targets.pop(0)
            self.targets.append(target)
            try:
                there, thither = await asyncio.open_connection(HOST, target)
            except OSError:
                # A server that is down: the next one.
                continue
            self.served.append(target)
            connection = _Connection(self._flowing, writer, thither)
            self._open.add(connection)
            try:
                await connection.run(reader, there)
            finally:
                self._open.discard(connection)
            return
        writer.close()


class _Connection:
    def __init__(self, all_flowing: asyncio.Event, *writers: asyncio.StreamWriter) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._all_flowing = all_flowing
        self._writers = writers
        self._task: asyncio.Future[Any] | None = None

    async def run(self, here: asyncio.StreamReader, there: asyncio.StreamReader) -> None:
        back, forth = self._writers
        self._task = asyncio.gather(self._pump(here, forth), self._pump(there, back))
        try:
            await self._task
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for writer in self._writers:
                writer.close()

    def end(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        if self._task is not None:
            self._task.cancel()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            await self._all_flowing.wait()
            await self.flowing.wait()
            sink.write(data)
            await sink.drain()
        if not self.flowing.is_set():
            # The other side of a forgotten connection never hears of its end.
            await self.flowing.wait()
        sink.close()
