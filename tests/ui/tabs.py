"""A tab without a browser: calls handlers in Reflex's own event processor, in memory, as any client
can call them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from reflex.istate.manager.memory import StateManagerMemory
from reflex_base.event import Event
from reflex_base.event.processor import BaseStateEventProcessor
from reflex_base.registry import RegistrationContext
from reflex_base.utils.format import format_event_handler

MARKER = "_rx_state_"
A_NAME = "'; drop table messages; --"
JUNK: list[Any] = [
    None,
    "",
    "x" * 100_000,
    A_NAME,
    -1,
    2**80,
    1.5,
    True,
    [],
    [[]],
    {},
    {"$ne": None},
    {"id": str(UUID(int=7))},
]


def by_name(handler: Any) -> str:
    return handler.fn.__qualname__


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
async def open_tab(cookie: str) -> AsyncIterator[Tab]:
    processor = BaseStateEventProcessor(middleware=RegistrationContext.get().app)
    processor.configure(state_manager=StateManagerMemory())
    async with processor:
        yield Tab(processor, cookie)
