"""Services without servers behind them, for handlers; the whole app for browsers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from aisaas.accounts.models import Principal
from aisaas.billing.models import Allowance
from aisaas.chat.models import Conversation, ConversationPage, Message, Segment, Started
from aisaas.embedded.processes import free_port
from aisaas.errors import Unauthenticated
from aisaas.settings import PROJECT_ROOT
from tests.chromium import chromium_path

# The first start builds the front end.
START_SECONDS = 300
STOP_SECONDS = 30

NOW = datetime(2031, 5, 4, 12, 30, tzinfo=UTC)
ADA = UUID(int=1)


def principal(user_id: UUID = ADA) -> Principal:
    return Principal(
        user_id=user_id,
        session_id=uuid4(),
        email="ada@example.com",
        full_name="Ada",
        avatar_url=None,
        role="user",
        plan="free",
        subscription_status="free",
        suspended=False,
        requests_per_minute=None,
        requests_per_day=None,
        tokens_per_month=None,
        metered_customer=None,
        switches=frozenset(),
    )


@dataclass
class Recorded:
    """Answers like the domain does, and keeps what it was asked."""

    cookies: dict[str, Principal] = field(default_factory=lambda: {"ada": principal()})
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    refuse: Exception | None = None
    words: tuple[str, ...] = ("Hello", ", ", "world")
    status: str = "done"

    async def _called(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, arguments))
        if self.refuse is not None:
            raise self.refuse

    def message(self, message_id: UUID, role: str = "assistant", content: str = "") -> Message:
        return Message(
            id=message_id,
            conversation_id=UUID(int=7),
            user_id=ADA,
            role=role,
            content=content,
            status="streaming" if role == "assistant" and not content else "done",
            created_at=NOW,
            updated_at=NOW,
        )

    def services(self) -> SimpleNamespace:
        return SimpleNamespace(
            accounts=SimpleNamespace(principal=self._principal),
            catalogue=SimpleNamespace(
                labels={"m": "M"},
                for_plan=lambda _: [SimpleNamespace(id="m", label="M")],
                default_for=lambda _: SimpleNamespace(id="m"),
            ),
            quota=SimpleNamespace(allowance=self._allowance),
            usage=SimpleNamespace(recent=self._none),
            conversations=SimpleNamespace(
                list=self._none,
                open=self._open,
                rename=lambda *a: self._called("rename", *a[1:]),
                delete=lambda *a: self._called("delete", *a[1:]),
                restore=lambda *a: self._called("restore", *a[1:]),
                set_model=lambda *a: self._called("set_model", *a[1:]),
            ),
            chat=SimpleNamespace(
                send=self._send,
                retry=self._retry,
                stop=lambda *a: self._called("stop", *a[1:]),
                follow=self._follow,
                message=self._message,
                text_from=self._text_from,
                title_ready=self._none,
            ),
        )

    async def _principal(self, cookie: str) -> Principal:
        if cookie not in self.cookies:
            raise Unauthenticated
        return self.cookies[cookie]

    async def _allowance(self, _: Principal) -> Allowance:
        return Allowance(used=10, reserved=0, limit=100, period_end=NOW)

    async def _none(self, *_: Any, **__: Any) -> Any:
        return []

    async def _open(self, _: Principal, wanted: UUID, **__: Any) -> ConversationPage:
        await self._called("open", wanted)
        row = Conversation(
            id=wanted, user_id=ADA, model="m", last_message_at=NOW, created_at=NOW, updated_at=NOW
        )
        stored = self.message(UUID(int=9), content="stored before " * 100)
        return ConversationPage(conversation=row, messages=[stored], has_older=False)

    async def _send(self, _: Principal, text: str, **given: Any) -> Started:
        await self._called("send", text, given["conversation_id"], given["model"])
        return self._started(text)

    async def _retry(self, _: Principal, earlier: UUID, **__: Any) -> Started:
        await self._called("retry", earlier)
        return self._started("again")

    def _started(self, text: str) -> Started:
        return Started(
            conversation_id=UUID(int=7),
            new_conversation=False,
            question=self.message(uuid4(), "user", text),
            reply=self.message(UUID(int=8)),
        )

    async def _follow(self, _: Principal, __: UUID, offset: int = 0) -> AsyncIterator[Segment]:
        for word in self.words:
            yield Segment(offset, word)
            offset += len(word)

    async def _message(self, _: Principal, wanted: UUID) -> Message:
        return self.message(wanted, content="".join(self.words))

    async def _text_from(self, _: Principal, wanted: UUID, offset: int) -> Segment:
        await self._called("text_from", wanted, offset)
        return Segment(offset, "".join(self.words)[offset:])


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The domain behind every handler, recorded."""
    from aisaas.ui import session
    from aisaas.ui.chat import state, stream
    from aisaas.ui.dashboard import state as dashboard

    recorded = Recorded()
    for module in (session, state, stream, dashboard):
        monkeypatch.setattr(module, "services", recorded.services)
    return recorded


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The whole product, started as everybody starts it, with an allowance of its own."""
    folder = tmp_path_factory.mktemp("run")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = os.environ | {
        "PORT": str(port),
        "AISAAS_DATA_DIR": str(folder / "data"),
        "FREE_TOKENS_PER_MONTH": "6000",
        "FREE_REQUESTS_PER_MINUTE": "1000",
    }
    command = [sys.executable, "-m", "aisaas", "run"]
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=env, stdout=log, stderr=log)
    try:
        _wait_until_it_answers(address, process, folder / "run.log")
        yield address
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{address}/ping").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"the app did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """For one module: Playwright's loop runs while it is open, and async tests bring their own."""
    path, arguments = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
