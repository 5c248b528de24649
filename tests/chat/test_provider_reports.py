"""What providers report and send against what was reserved: nobody is charged more than was held, what
can't be is replaced by our own count, and the rest is the house's loss."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aisaas.callers import Caller
from aisaas.chat.models import Started
from aisaas.chat.reports import FRAME_TOKENS, PROMPT_EXTRA, PROMPT_FACTOR, issues_of
from aisaas.language_models import Usage
from aisaas.observe.metrics import REPORTS_REPLACED, UNCHARGED
from aisaas.wiring import Services
from tests.adapters.test_rubbish import event, usage
from tests.chat.test_untrusted_replies import DONE, finish, product, says
from tests.scripted_provider import HANG, scripted_provider
from tests.scripted_provider import finish as scripted_finish
from tests.scripted_provider import says as scripted_says
from tests.services import Build, Database, new_principal, recover, whole

pytestmark = pytest.mark.usefixtures("patience")

COUNTS = {"prompt_tokens": 40, "completion_tokens": 20, "total_tokens": 60}
WORDS = "Thirty tokens or so, which is what an answer of one sentence has."


async def answered(services: Services, model: str = "demo") -> tuple[Caller, Started]:
    ada = await new_principal(services)
    started = await services.chat.send(ada, "hello", conversation_id=None, model=model)
    await whole(services, ada, started)
    return ada, started


def booked(database: Database, message_id: UUID) -> tuple[Any, ...]:
    """Prompt, completion, by whom, and what was wrong with the report."""
    (line,) = database(
        "select prompt_tokens, completion_tokens, counted_by, report_issue from usage_records"
        " where message_id = %s",
        message_id,
    )
    return line


def lost(database: Database, message_id: UUID) -> list[tuple[Any, ...]]:
    return database(
        "select l.reason, l.model, l.provider, l.reported_completion_tokens,"
        " l.counted_completion_tokens, l.lost_tokens, l.lost_usd > 0"
        " from private.usage_losses l join reservations r on r.id = l.reservation_id"
        " where r.message_id = %s",
        message_id,
    )


def within(database: Database, user_id: UUID) -> None:
    """Nothing is charged beyond its reservation, and all the books agree."""
    assert (
        database(
            "select r.id from usage_records u join reservations r on r.id = u.reservation_id"
            " where u.user_id = %s and (u.quota_tokens > r.tokens or u.cost_usd > r.cost_usd)",
            user_id,
        )
        == []
    )
    ((ledger, used, held),) = database(
        "select (select coalesce(sum(quota_tokens), 0) from usage_records where user_id = q.user_id),"
        " sum(q.used), sum(q.reserved) from quota_periods q where q.user_id = %s group by q.user_id",
        user_id,
    )
    assert (ledger, held) == (used, 0)


async def test_report_of_millions_is_billed_as_what_came_and_the_rest_is_written_down(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.reply = [event({"content": WORDS}), finish(), usage(40, 5_000_000), DONE]
        replaced = REPORTS_REPLACED.labels("dear", "demo")
        uncharged = UNCHARGED.labels("dear", "demo", "report")
        before = replaced._value.get(), uncharged._value.get()  # pyright: ignore[reportPrivateUsage]
        ada, started = await answered(services, "dear")
        counted = services.model.count_tokens(WORDS)
        assert booked(database, started.reply.id) == (
            40,
            counted,
            "estimate",
            "completion_excessive",
        )
        assert lost(database, started.reply.id) == [
            ("report", "dear", "demo", 5_000_000, counted, 5_000_000 - counted, True)
        ]
        await services.chat.title_ready(ada, started.conversation_id)
        within(database, ada.user_id)
        assert database(
            "select values ->> 'model', values ->> 'provider', values ->> 'billed', user_id"
            " from billing_notices where key like 'usage_lost:%%:report:dear'"
        ) == [("dear", "demo", "5000040", None)]
        assert replaced._value.get() == before[0] + 1  # pyright: ignore[reportPrivateUsage]
        assert uncharged._value.get() > before[1]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("pieces", [1, 200_000], ids=["in one piece", "word by word"])
async def test_provider_that_ignores_its_limit_is_cut_where_the_grant_ends(
    build_services: Build, tmp_path: Path, database: Database, pieces: int
) -> None:
    async with product(build_services, tmp_path, max_reply_tokens=64) as (services, provider):
        words = " word" * 6000
        provider.reply = (
            [event({"content": words}), finish(), DONE]
            if pieces == 1
            else [event({"content": " word"})] * pieces
        )
        ada, started = await answered(services)
        stored = await services.chat.message(ada, started.reply.id)
        assert stored.status == "done"
        assert stored.content == " word" * 64
        prompt, completion, by, issue = booked(database, started.reply.id)
        assert (completion, by, issue) == (64, "estimate", None)
        ((reason, *_, counted, tokens, costs),) = lost(database, started.reply.id)
        assert (reason, tokens) == ("overrun", counted - 64)
        if pieces == 1:
            assert (counted, costs) == (6000, True)
        else:
            # It was hung up on.
            assert provider.sent < pieces
        await services.chat.title_ready(ada, started.conversation_id)
        within(database, ada.user_id)
        assert prompt > 0


async def test_reply_that_ends_where_its_grant_ends_is_not_cut(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path, max_reply_tokens=64) as (services, provider):
        provider.reply = [event({"content": " word" * 64}), finish("length"), usage(40, 64), DONE]
        _, started = await answered(services)
        assert booked(database, started.reply.id) == (40, 64, "provider", None)
        assert lost(database, started.reply.id) == []


@pytest.mark.parametrize(
    ("reported", "prompt", "completion", "issue"),
    [
        ((0, 0), None, None, "completion_missing prompt_missing"),
        ((None, None), None, None, "completion_missing prompt_missing"),
        ((None, 9), None, 9, "prompt_missing"),
        ((0, 9), None, 9, "prompt_missing"),
        ((40, None), 40, None, "completion_missing"),
        ((40, 0), 40, None, "completion_missing"),
        ((-40, -7), None, None, "completion_missing prompt_missing"),
        ((40, 9), 40, 9, None),
    ],
)
async def test_report_that_lacks_what_came_is_completed_by_our_own_count(
    build_services: Build,
    tmp_path: Path,
    database: Database,
    reported: tuple[object, object],
    prompt: int | None,
    completion: int | None,
    issue: str | None,
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.reply = [event({"content": WORDS}), finish(), usage(*reported), DONE]
        ada, started = await answered(services)
        stored = await services.chat.message(ada, started.reply.id)
        assert (stored.content, stored.status) == (WORDS, "done")
        ((own_prompt,),) = database(
            "select prompt_count from reservations where message_id = %s", started.reply.id
        )
        assert booked(database, started.reply.id) == (
            own_prompt if prompt is None else prompt,
            services.model.count_tokens(WORDS) if completion is None else completion,
            "provider" if issue is None else "estimate",
            issue,
        )
        # A report that lacks something is no loss: what came is charged.
        assert lost(database, started.reply.id) == []
        await services.chat.title_ready(ada, started.conversation_id)
        within(database, ada.user_id)


async def test_prompt_counted_beyond_the_reservation_is_the_houses(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path, max_reply_tokens=32) as (services, provider):
        # A provider may send a prompt of its own; that much was not held.
        provider.reply = [event({"content": "Hello."}), finish(), usage(900, 9), DONE]
        ada, started = await answered(services)
        ((tokens, charged, prompt, completion),) = database(
            "select r.tokens, u.quota_tokens, u.prompt_tokens, u.completion_tokens"
            " from reservations r join usage_records u on u.reservation_id = r.id"
            " where r.message_id = %s",
            started.reply.id,
        )
        assert charged == tokens
        assert (prompt, completion) == (int(str(tokens)) - 9, 9)
        ((reason, *_, lost_tokens, _),) = lost(database, started.reply.id)
        assert (reason, lost_tokens) == ("reservation", 900 - int(str(prompt)))
        await services.chat.title_ready(ada, started.conversation_id)
        within(database, ada.user_id)


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ([event({"content": "A title"}), finish(), usage(40, 5_000_000), DONE], 2),
        ([event({"content": "A title"}), finish(), usage(0, 0), DONE], 2),
        ([event({"content": " word" * 6000}), finish(), DONE], 24),
        ([event({"content": " word"})] * 200_000, 24),
    ],
    ids=["millions", "nothing", "no end", "no end, word by word"],
)
async def test_titles_are_bounded_like_replies(
    build_services: Build,
    tmp_path: Path,
    database: Database,
    answer: list[bytes],
    completion: int,
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.title = answer
        ada, started = await answered(services)
        title = await services.chat.title_ready(ada, started.conversation_id)
        assert title is not None
        assert title.startswith(("A title", "word word"))
        assert database(
            "select completion_tokens, counted_by, outcome from usage_records"
            " where user_id = %s and purpose = 'title'",
            ada.user_id,
        ) == [(completion, "estimate", "done")]
        within(database, ada.user_id)


async def test_title_whose_process_dies_is_settled_with_what_had_come(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        provider.title, provider.hold_title = says("A title", " that is", " long"), asyncio.Event()
        ada, started = await answered(services)
        open_title = (
            "select id from reservations where user_id = %s and purpose = 'title'"
            " and state = 'open'"
        )
        async with asyncio.timeout(60):
            while not (found := database(open_title, ada.user_id)):
                await asyncio.sleep(0.02)
            ((request_id,),) = found
            assert isinstance(request_id, UUID)
            parts: Any = services.chat
            reply_log = parts._parts.log
            while (logged := await reply_log.read(request_id)) is None or not logged.text:
                await asyncio.sleep(0.02)
            while logged.text != "A title that is long":
                await asyncio.sleep(0.02)
                logged = await reply_log.read(request_id)
        task = parts._titles[started.conversation_id]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert database(open_title, ada.user_id)
        # What other tests have left isn't due before it.
        database(
            "update reservations set lease_expires_at = now() - interval '1 day' where id = %s",
            request_id,
        )
        await recover(services)
        assert database(
            "select completion_tokens, counted_by, outcome, conversation_id is null"
            " from usage_records where reservation_id = %s",
            request_id,
        ) == [
            (services.model.count_tokens("A title that is long"), "estimate", "interrupted", True)
        ]
        within(database, ada.user_id)


async def test_attempt_that_failed_without_a_word_is_free_and_what_it_reported_is_a_loss(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        # It begins, reports, and hangs up; the model has no fallback.
        provider.reply = [event({"content": ""}, usage=COUNTS)]
        ada, started = await answered(services)
        stored = await services.chat.message(ada, started.reply.id)
        assert stored.status == "failed"
        assert not database("select 1 from usage_records where user_id = %s", ada.user_id)
        assert lost(database, started.reply.id) == [("failed", "demo", "demo", 20, 0, 60, True)]
        assert provider.titles_asked == 0
        # That it is free is no surprise to anybody.
        assert not database(
            "select 1 from billing_notices where key like 'usage_lost:%%:failed:%%'"
        )


async def test_finish_reason_and_then_silence_is_an_end(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with (
        scripted_provider([*scripted_says(WORDS), scripted_finish(), HANG]) as provider,
        build_services(
            demo_api_base=f"{provider.url}/v1", run_jobs=False, token_gap_timeout_seconds=60
        ) as services,
    ):
        ada, started = await answered(services)
        stored = await services.chat.message(ada, started.reply.id)
        assert (stored.status, stored.content) == ("done", WORDS)
        # No usage came.
        assert booked(database, started.reply.id)[1:] == (
            services.model.count_tokens(WORDS),
            "estimate",
            None,
        )
        await services.chat.title_ready(ada, started.conversation_id)
        within(database, ada.user_id)


async def test_titles_are_asked_of_the_cheapest_model_of_the_plan(
    build_services: Build, tmp_path: Path
) -> None:
    async with product(build_services, tmp_path) as (services, provider):
        ada, started = await answered(services, "dear")
        assert await services.chat.title_ready(ada, started.conversation_id) == "A title"
        # $0.15 and $0.60 a million tokens; the others cost more.
        assert provider.title_models == ["demo"]


# The bounds at their edges ---------------------------------------------------------------------------

TEXT = "a" * 100
SANE = Usage(100, 100)


@pytest.mark.parametrize(
    ("reported", "thinking", "issues"),
    [
        (SANE, 0, set()),
        (Usage(1, 1), 0, set()),
        (Usage(100, 100 + FRAME_TOKENS), 0, set()),
        (Usage(100, 101 + FRAME_TOKENS), 0, {"completion_excessive"}),
        (Usage(100, 400 + FRAME_TOKENS), 300, set()),
        (Usage(100, 401 + FRAME_TOKENS), 300, {"completion_excessive"}),
        (Usage(50 * PROMPT_FACTOR + PROMPT_EXTRA, 100), 0, set()),
        (Usage(50 * PROMPT_FACTOR + PROMPT_EXTRA + 1, 100), 0, {"prompt_excessive"}),
        (Usage(0, 100), 0, {"prompt_missing"}),
        (Usage(100, 0), 0, {"completion_missing"}),
    ],
)
def test_report_is_believed_up_to_what_can_be(
    reported: Usage, thinking: int, issues: set[str]
) -> None:
    found = issues_of(reported, TEXT, prompt_count=50, thinking_granted=thinking, complete=True)
    assert found == issues


def test_report_before_the_end_may_lack_the_completion() -> None:
    found = issues_of(Usage(40, 0), TEXT, prompt_count=50, thinking_granted=0, complete=False)
    assert found == frozenset()


def test_report_of_nothing_for_nothing_is_believed() -> None:
    found = issues_of(Usage(0, 0), "", prompt_count=50, thinking_granted=0, complete=True)
    assert found == frozenset()
