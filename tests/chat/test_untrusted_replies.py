"""Whatever a provider sends, the reply ends, is stored, booked once, and can be retried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from aisaas.billing.job_failures.failures import ATTEMPTS
from aisaas.chat import running
from aisaas.chat.titles import TITLE_TOKENS
from aisaas.wiring import Services
from tests.adapters.test_rubbish import event, usage
from tests.services import Build, Database, new_principal, recover, whole, write_catalogue

DONE = b"data: [DONE]\n\n"
DEAR = {
    "id": "dear",
    "label": "Dear",
    "provider": "demo",
    "upstream": "openai/dear",
    "context_window": 16000,
    "max_output": 4096,
    "weight": "1",
    "plans": ["free", "pro", "business"],
    "fallback": None,
    # A report of some million tokens costs more than a ledger line can hold.
    "price": {"input_usd": "5000", "output_usd": "5000"},
}


pytestmark = pytest.mark.usefixtures("patience")


def finish(reason: str = "stop") -> bytes:
    return event({}, choices=[{"index": 0, "delta": {}, "finish_reason": reason}])


def says(*pieces: object, reason: str = "stop") -> list[bytes]:
    return [*(event({"content": piece}) for piece in pieces), finish(reason), usage(40, 9), DONE]


@dataclass
class Provider:
    """Answers replies and titles as configured; `hold` keeps an answer back before its end."""

    reply: list[bytes] = field(default_factory=lambda: says("Hello."))
    title: list[bytes] = field(default_factory=lambda: says("A title"))
    status: int = 200
    titles_asked: int = 0
    # Models that were asked for titles, and how many parts of answers left.
    title_models: list[str] = field(default_factory=list)
    sent: int = 0
    hold: asyncio.Event | None = None
    hold_title: asyncio.Event | None = None
    serving: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            asked = json.loads(await reader.readexactly(length))
            is_title = asked["max_tokens"] <= TITLE_TOKENS
            self.titles_asked += is_title
            if is_title:
                self.title_models.append(asked["model"])
            if self.status != 200:
                writer.write(
                    f"HTTP/1.1 {self.status} No\r\ncontent-length: 2\r\n"
                    "connection: close\r\n\r\n{}".encode()
                )
                return
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            )
            parts = self.title if is_title else self.reply
            hold = self.hold_title if is_title else self.hold
            for number, part in enumerate(parts):
                if hold is not None and number == len(parts) - 3:
                    await writer.drain()
                    await hold.wait()
                writer.write(part)
                await writer.drain()
                self.sent += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.serving.discard(task)

    async def end(self) -> None:
        """Hang up on everybody who is still kept waiting."""
        for task in (left := list(self.serving)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def product(
    build_services: Build, tmp_path: Path, **overrides: object
) -> AsyncGenerator[tuple[Services, Provider]]:
    """The product in front of a provider of the test's own."""
    path = write_catalogue(tmp_path / "catalogue.json")
    path.write_text(json.dumps([*json.loads(path.read_text()), DEAR]))
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    settings = {"demo_api_base": base, "model_catalogue": path, "run_jobs": False} | overrides
    async with server, build_services(**settings) as services:
        yield services, provider
        await provider.end()


def booked(database: Database, message_id: UUID) -> list[tuple[object, ...]]:
    return database(
        "select u.prompt_tokens, u.completion_tokens, u.counted_by, r.state"
        " from reservations r left join usage_records u on u.reservation_id = r.id"
        " where r.message_id = %s",
        message_id,
    )


@pytest.mark.parametrize(
    ("pieces", "stored"),
    [
        (["a\x00b", "\x00"], "ab"),
        (["smile \ud83d", "\ude00!"], "smile 😀!"),
        (["\ud83d", "alone", "\ude00"], "\ufffdalone\ufffd"),
        (["\x1b[31m\u202e", "\ufffe"], "\x1b[31m\u202e\ufffe"),
    ],
    ids=["NUL", "split pair", "lone halves", "controls"],
)
async def test_text_is_shown_stored_and_billed(
    build_services: Build, tmp_path: Path, database: Database, pieces: list[str], stored: str
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.reply = says("So: ", *pieces)
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        shown, message = await whole(services, ada, started)
        assert (shown, message.content, message.status) == (f"So: {stored}",) * 2 + ("done",)
        assert booked(database, started.reply.id) == [(40, 9, "provider", "settled")]
        # What it said is part of what is asked next.
        again = await services.chat.send(
            ada, "and?", conversation_id=started.conversation_id, model="demo"
        )
        await whole(services, ada, again)


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        (["Rate\x00 ", "\ud83d", "\ude00"], "Rate 😀"),
        (["<think>hm</think>", '**"Title: Rates"**'], "Rates"),
        (["\u200b", "\u2060"], "What protects my bill?"),
        (["<think>never ends"], "What protects my bill?"),
        ([], "What protects my bill?"),
    ],
)
async def test_title_is_what_can_be_read_of_the_answer(
    build_services: Build, tmp_path: Path, database: Database, answer: list[str], title: str
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.title = says(*answer)
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "What protects\u200b my bill?", conversation_id=None, model="demo"
        )
        assert await services.chat.title_ready(ada, started.conversation_id) == title
        assert database(
            "select completion_tokens from usage_records where user_id = %s and purpose = 'title'",
            ada.user_id,
        ) == [(9,)]


ENDINGS: dict[str, tuple[list[bytes], int, str, str | None]] = {
    "no answer": ([], 500, "failed", None),
    "nothing": (says(), 200, "failed", "empty"),
    "spaces": (says(" \n", "\u200b"), 200, "failed", "empty"),
    "content filter": (says(reason="content_filter"), 200, "failed", "filtered"),
    "a cut": ([event({"content": "so far"})], 200, "interrupted", "cut"),
    "a cut before the first word": ([event({"content": ""})], 200, "failed", "cut"),
}


@pytest.mark.parametrize("kind", ENDINGS)
async def test_every_bad_ending_has_a_name_and_can_be_retried(
    build_services: Build, tmp_path: Path, database: Database, kind: str
) -> None:
    parts, status, outcome, code = ENDINGS[kind]
    async with product(build_services, tmp_path) as (services, provider):
        provider.reply, provider.status = parts, status
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        _, message = await whole(services, ada, started)
        assert message.status == outcome
        assert message.error_code is not None
        assert code is None or message.error_code == code
        ((*_, state),) = booked(database, started.reply.id)
        assert state != "open"
        provider.reply, provider.status = says("Better."), 200
        again = await services.chat.retry(ada, started.reply.id)
        _, message = await whole(services, ada, again)
        assert (message.content, message.status) == ("Better.", "done")
        assert message.reply_to == started.question.id


async def test_reply_that_fails_before_any_text_asks_for_no_title_and_the_next_one_does(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.status = 500
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        await whole(services, ada, started)
        assert await services.chat.title_ready(ada, started.conversation_id) is None
        assert provider.titles_asked == 0
        assert not database("select 1 from usage_records where user_id = %s", ada.user_id)
        provider.status = 200
        again = await services.chat.retry(ada, started.reply.id)
        await whole(services, ada, again)
        assert await services.chat.title_ready(ada, started.conversation_id) == "A title"


@contextmanager
def refusing(database: Database, on: str, when: str) -> Generator[None]:
    """Rows of a table that can't be written as they should."""
    name = f"test_{on.replace('.', '_')}"
    database(
        f"create function public.{name}() returns trigger language plpgsql as $$ begin"
        f" raise check_violation using message = 'refused by a test'; end $$"
    )
    database(
        f"create trigger {name} before insert or update on {on} for each row when ({when})"
        f" execute function public.{name}()"
    )
    try:
        yield
    finally:
        database(f"drop function public.{name}() cascade")


@pytest.mark.parametrize(
    ("when", "status", "code"),
    [
        ("new.id = '{id}' and new.content like '%%word%%'", "interrupted", "unstorable"),
        ("new.id = '{id}'", "streaming", None),
    ],
    ids=["its text", "its row"],
)
async def test_reply_that_cannot_be_stored_still_ends_and_is_booked(
    build_services: Build,
    tmp_path: Path,
    database: Database,
    when: str,
    status: str,
    code: str | None,
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.reply, provider.hold = says("a word ", "and another"), asyncio.Event()
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        reply_id = started.reply.id
        with refusing(database, "public.messages", when.format(id=reply_id)):
            provider.hold.set()
            running_reply = services.running.get(reply_id)
            assert running_reply is not None
            # Its followers see it end, here and in other tabs.
            shown = "".join([segment.text async for segment in running_reply.follow(0)])
            assert shown == "a word and another"
            message = await services.chat.message(ada, reply_id)
            assert (message.status, message.error_code) == (status, code)
            ((prompt, completion, by, state),) = booked(database, reply_id)
            assert (completion, by, state) == (
                services.model.count_tokens(shown),
                "estimate",
                "settled",
            )
            assert isinstance(prompt, int)
            assert prompt > 0
            # Its title is one more call.
            await services.chat.title_ready(ada, started.conversation_id)
            assert (await services.quota.allowance(ada.billing)).reserved == 0
        database("delete from messages where id = %s and status = 'streaming'", reply_id)


async def test_report_that_no_ledger_can_hold_is_replaced_by_our_own_count(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.reply = [event({"content": "Hello."}), finish(), usage(9_999_999, 9_999_999), DONE]
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="dear")
        _, message = await whole(services, ada, started)
        assert message.content == "Hello."
        ((_, completion, by, state),) = booked(database, started.reply.id)
        assert (completion, by, state) == (
            services.model.count_tokens("Hello."),
            "estimate",
            "settled",
        )


async def test_title_that_takes_longer_than_a_lease_is_nobody_elses(
    build_services: Build,
    tmp_path: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "RENEW_SECONDS", 0.05)
    async with product(build_services, tmp_path) as (services, provider):
        provider.hold_title = asyncio.Event()
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        await whole(services, ada, started)
        held = (
            "select lease_expires_at > now() + interval '10 s' from reservations"
            " where user_id = %s and purpose = 'title'"
        )
        while not database(held, ada.user_id):
            await asyncio.sleep(0.02)
        database(
            "update reservations set lease_expires_at = now() + interval '1 s'"
            " where user_id = %s and purpose = 'title'",
            ada.user_id,
        )
        # Its own process renews it for as long as it takes.
        while database(held, ada.user_id) != [(True,)]:
            await asyncio.sleep(0.02)
        provider.hold_title.set()
        assert await services.chat.title_ready(ada, started.conversation_id) == "A title"
        assert database(
            "select completion_tokens from usage_records where user_id = %s and purpose = 'title'",
            ada.user_id,
        ) == [(9,)]


async def _forget(services: Services, reply_id: UUID) -> None:
    url: Any = services.settings.redis_url
    async with redis.asyncio.Redis.from_url(url.get_secret_value()) as client:
        keys = [key async for key in client.scan_iter(f"*reply:{{{reply_id}}}*")]
        assert keys
        await client.delete(*keys)


Settled = Callable[[], bool]


@pytest.mark.parametrize("goes_on", [True, False], ids=["while text comes", "while none comes"])
async def test_log_that_was_flushed_is_written_again_from_its_beginning(
    build_services: Build, tmp_path: Path, database: Database, goes_on: bool
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        words = [f"word{number} " for number in range(20)]
        provider.reply, provider.hold = says(*words), asyncio.Event()
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        reply_id = started.reply.id
        running_reply = services.running.get(reply_id)
        assert running_reply is not None

        async def logged() -> str:
            found = await running_reply._parts.log.read(reply_id)
            assert found is None or found.model in {None, "demo"}
            return found.text if found is not None and found.model == "demo" else ""

        while not (before := await logged()):
            await asyncio.sleep(0.02)
        await _forget(services, reply_id)
        if goes_on:
            provider.hold.set()
        else:
            while not (await logged()).startswith(before):
                await asyncio.sleep(0.02)
            # As if its process were gone at this moment.
            running_reply.mark_lease_lost()
            while services.running.get(reply_id) is not None:
                await asyncio.sleep(0.02)
            database(
                "update reservations set lease_expires_at = now() where message_id = %s", reply_id
            )
            await recover(services)
        while (stored := await services.chat.message(ada, reply_id)).status == "streaming":
            await asyncio.sleep(0.02)
        if goes_on:
            assert stored.content == "".join(words)
        else:
            assert stored.content.startswith(before)
            assert "".join(words).startswith(stored.content)
        assert booked(database, reply_id)[0][3] == "settled"


async def test_call_that_cannot_be_booked_ends_for_its_readers_and_stops_no_other(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.reply, provider.hold = says("so ", "far"), asyncio.Event()
        ada = await new_principal(services)
        poisoned, good = [
            await services.chat.send(ada, text, conversation_id=None, model="demo")
            for text in ("one", "two")
        ]
        for started in (poisoned, good):
            reply = services.running.get(started.reply.id)
            assert reply is not None
            while reply.text_from(0).text != "so far":
                await asyncio.sleep(0.02)
            reply.mark_lease_lost()
            while services.running.get(started.reply.id) is not None:
                await asyncio.sleep(0.02)
            # Its title is booked, too: a lock on that table would wait for it.
            await services.chat.title_ready(ada, started.conversation_id)
        ((request_id,),) = database(
            "select id::text from reservations where message_id = %s", poisoned.reply.id
        )

        async def expire_and_recover() -> None:
            database(
                "update reservations set lease_expires_at = now() - case when message_id = %s"
                " then interval '1 h' else interval '0' end"
                " where message_id = any(%s) and state = 'open'",
                poisoned.reply.id,
                [poisoned.reply.id, good.reply.id],
            )
            await recover(services)

        when = f"new.message_id = '{poisoned.reply.id}'"
        with refusing(database, "public.usage_records", when):
            await expire_and_recover()
            message = await services.chat.message(ada, good.reply.id)
            assert (message.status, message.error_code) == ("interrupted", "process_lost")
            message = await services.chat.message(ada, poisoned.reply.id)
            assert (message.status, message.content, message.error_code) == (
                "interrupted",
                "so far",
                "unbooked",
            )
            for _ in range(1, ATTEMPTS):
                database(
                    "update private.job_failures set next_attempt_at = now() where item = %s",
                    request_id,
                )
                await expire_and_recover()
            waits = "select attempts, next_attempt_at is null from private.job_failures"
            assert database(f"{waits} where item = %s", request_id) == [(ATTEMPTS, True)]
        # Nothing tries it again by itself, even now that it would work.
        await expire_and_recover()
        assert booked(database, poisoned.reply.id)[0][3] == "open"
        await services.money.failed_jobs.retry(
            "operator:tests", "recover_replies", str(request_id), reason="tests"
        )
        # By now its log may have expired.
        await _forget(services, poisoned.reply.id)
        await expire_and_recover()
        ((_, completion, by, state),) = booked(database, poisoned.reply.id)
        tokens = services.model.count_tokens("so far")
        assert (completion, by, state) == (tokens, "estimate", "settled")
        assert not database("select 1 from private.job_failures where item = %s", request_id)
        message = await services.chat.message(ada, poisoned.reply.id)
        assert (message.content, message.error_code) == ("so far", "process_lost")
        assert message.completion_tokens == tokens
        # The process that settles counts what a later prompt needs.
        for started, text in ((poisoned, "one"), (good, "two")):
            counted = database(
                "select token_count from messages where id = %s", started.question.id
            )
            assert counted == [(services.model.count_tokens(text),)]
