"""How replies end: each ending has a name, is stored, priced, and can be retried or continued."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aisaas.adapters import litellm_wire
from aisaas.chat import reply as reply_module
from aisaas.chat.ports import ReplyLog
from aisaas.chat.prompt import CONTINUE_TEXT
from aisaas.errors import NotFound, QuotaExceeded
from aisaas.ui.chat.view import NOT_CONTINUED, message_view
from tests.chat.test_thinking import MODELS, ledger, product
from tests.scripted_provider import (
    HANG,
    Answer,
    anthropic_ends,
    anthropic_says,
    anthropic_starts,
    anthropic_thinks,
    chunk,
    ends,
    finish,
    says,
    thinks,
)
from tests.services import Build, Database, new_principal, recover, whole

pytestmark = pytest.mark.usefixtures("patience")

# Protocol, what the provider sends; status, ending, text, and what is billed of 40 and 9.
ENDINGS: dict[str, tuple[str, Answer, str, str, str, tuple[object, ...]]] = {
    "complete": (
        "openai",
        [*says("Yes."), *ends()],
        "done",
        "complete",
        "Yes.",
        (40, 9, "provider"),
    ),
    "length": (
        "openai",
        [*says("So "), *ends("length")],
        "done",
        "limit",
        "So ",
        (40, 9, "provider"),
    ),
    "max_tokens": (
        "anthropic",
        [anthropic_starts(), *anthropic_says("So "), *anthropic_ends("max_tokens")],
        "done",
        "limit",
        "So ",
        (40, 9, "provider"),
    ),
    "a filter before any text": (
        "openai",
        ends("content_filter", completion=0),
        "failed",
        "filtered",
        "",
        (40, 0, "provider"),
    ),
    "a filter after some text": (
        "openai",
        [*says("So "), *ends("content_filter")],
        "interrupted",
        "filtered",
        "So ",
        (40, 9, "provider"),
    ),
    "a refusal in words": (
        "openai",
        [chunk({"refusal": "I can't help "}), chunk({"refusal": "with that."}), *ends()],
        "interrupted",
        "refused",
        "I can't help with that.",
        (40, 9, "provider"),
    ),
    "a refusal without a word": (
        "anthropic",
        [anthropic_starts(), *anthropic_ends("refusal", completion=1)],
        "failed",
        "refused",
        "",
        (40, 1, "provider"),
    ),
    "a refusal in the middle": (
        "anthropic",
        [anthropic_starts(), *anthropic_says("First, "), *anthropic_ends("refusal")],
        "interrupted",
        "refused",
        "First, ",
        (40, 9, "provider"),
    ),
    "nothing": ("openai", ends(completion=1), "failed", "empty", "", (40, 1, "provider")),
    "nothing of anthropic's": (
        "anthropic",
        [anthropic_starts(), *anthropic_ends(completion=1)],
        "failed",
        "empty",
        "",
        (40, 1, "provider"),
    ),
    "only thinking, told": (
        "openai",
        [*thinks("Hm."), *ends("length")],
        "failed",
        "only_thinking",
        "",
        (40, 9, "provider"),
    ),
    "only thinking, hidden": (
        "openai",
        ends("length", completion=9, thinking=9),
        "failed",
        "only_thinking",
        "",
        (40, 9, "provider"),
    ),
    "only thinking, hidden and not reported apart": (
        "openai",
        ends("length", completion=300),
        "failed",
        "only_thinking",
        "",
        (40, 300, "provider"),
    ),
    "only thinking, and a stop": (
        "anthropic",
        [anthropic_starts(), *anthropic_thinks("Hm."), *anthropic_ends()],
        "failed",
        "only_thinking",
        "",
        (40, 9, "provider"),
    ),
}


@pytest.mark.parametrize("kind", ENDINGS)
async def test_what_the_provider_says_of_its_end_is_stored_billed_and_can_be_retried(
    build_services: Build, tmp_path: Path, database: Database, kind: str
) -> None:
    protocol, answer, status, ending, text, billed = ENDINGS[kind]
    async with product(build_services, tmp_path, answer) as (services, provider):
        ada = await new_principal(services)
        model = MODELS[protocol]
        started = await services.chat.send(ada, "hello", conversation_id=None, model=model)
        shown, message = await whole(services, ada, started)
        assert (message.status, message.ending) == (status, ending)
        assert shown == message.content == text
        assert ledger(database, started.reply.id) == [billed]
        again = await services.chat.retry(ada, started.reply.id)
        _, message = await whole(services, ada, again)
        assert (again.reply.id != started.reply.id, message.ending) == (True, ending)
        assert len(provider.requests) >= 2


async def test_end_without_the_providers_word_is_cut_stopped_or_failed(
    build_services: Build, tmp_path: Path
) -> None:
    answers: dict[str, Answer] = {"cut": says("So "), "failed": [], "stopped": [*says("So "), HANG]}
    for ending, answer in answers.items():
        async with product(build_services, tmp_path, answer) as (services, _):
            ada = await new_principal(services)
            started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
            if ending == "stopped":
                reply = services.running.get(started.reply.id)
                assert reply is not None
                while not reply.text_from(0).text:
                    await asyncio.sleep(0.01)
                await services.chat.stop(ada, started.reply.id)
            _, message = await whole(services, ada, started)
            assert message.ending == ending


@pytest.mark.parametrize("protocol", list(MODELS))
async def test_finish_reason_and_then_silence_is_complete(
    build_services: Build,
    tmp_path: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
) -> None:
    monkeypatch.setattr(litellm_wire, "FINISH_SECONDS", 0.3)
    answers: dict[str, Answer] = {
        "openai": [*says("Yes."), finish(), HANG],
        "anthropic": [anthropic_starts(), *anthropic_says("Yes."), anthropic_ends()[0], HANG],
    }
    async with product(build_services, tmp_path, answers[protocol]) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(
            ada, "hello", conversation_id=None, model=MODELS[protocol]
        )
        text, message = await whole(services, ada, started)
        assert (text, message.status, message.ending) == ("Yes.", "done", "complete")
        ((_, completion, _),) = ledger(database, started.reply.id)
        assert completion == (9 if protocol == "anthropic" else services.model.count_tokens("Yes."))


# Continuing


def in_parts(request: dict[str, Any]) -> Answer:
    """The first part up to its limit, and the rest when asked to go on."""
    if request["messages"][-1]["content"] == CONTINUE_TEXT:
        return [*thinks("On. "), *says("and two."), *ends(prompt=60, completion=5, thinking=2)]
    return [*thinks("Hm. "), *says("One "), *ends("length", completion=9, thinking=4)]


async def test_reply_at_its_limit_goes_on_in_the_same_message_under_its_own_reservation(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path, in_parts) as (services, provider):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        _, first = await whole(services, ada, started)
        await services.chat.title_ready(ada, started.conversation_id)
        assert (first.ending, first.content) == ("limit", "One ")
        resumed = await services.chat.go_on(ada, started.reply.id)
        assert (resumed.reply.id, resumed.reply.status) == (started.reply.id, "streaming")
        assert resumed.reply.content == "One "
        text, message = await whole(services, ada, resumed)
        assert text == message.content == "One and two."
        assert message.thinking == "Hm. On. "
        assert (message.status, message.ending, message.continued_from) == ("done", "complete", 4)
        assert [turn["content"] for turn in provider.requests[-1]["messages"][1:]] == [
            "count",
            "One ",
            CONTINUE_TEXT,
        ]
        # Both calls are in the ledger, and the message has their sum.
        assert [line[:2] for line in ledger(database, started.reply.id)] == [(40, 9), (60, 5)]
        assert (message.prompt_tokens, message.completion_tokens) == (100, 14)
        assert message.thinking_tokens == 6
        assert message.quota_tokens == 114
        assert (
            message.cost_usd
            == database(
                "select sum(cost_usd) from usage_records where message_id = %s", message.id
            )[0][0]
            != Decimal(0)
        )
        assert message.token_count == sum(map(services.model.count_tokens, ("One ", "and two.")))
        assert database("select token_count from messages where id = %s", started.question.id) == [
            (services.model.count_tokens("count"),)
        ]
        states = "select state, count(*) from reservations where message_id = %s group by state"
        assert database(states, message.id) == [("settled", 2)]
        assert (await services.quota.allowance(ada.billing)).reserved == 0
        with pytest.raises(NotFound):
            await services.chat.go_on(ada, started.reply.id)


@pytest.mark.parametrize("ending", ["stopped", "cut"])
async def test_reply_that_ended_early_goes_on_and_keeps_its_ending_if_nothing_comes(
    build_services: Build, tmp_path: Path, database: Database, ending: str
) -> None:
    more = asyncio.Event()

    def early(request: dict[str, Any]) -> Answer:
        if request["messages"][-1]["content"] == CONTINUE_TEXT:
            return in_parts(request) if more.is_set() else []
        return [*says("One "), HANG] if ending == "stopped" else says("One ")

    async with product(build_services, tmp_path, early) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        if ending == "stopped":
            async for _ in services.chat.follow(ada, started.reply.id):
                await services.chat.stop(ada, started.reply.id)
        _, first = await whole(services, ada, started)
        await services.chat.title_ready(ada, started.conversation_id)
        assert (first.ending, first.content) == (ending, "One ")
        assert message_view(first, {}).go_on
        resumed = await services.chat.go_on(ada, first.id)
        assert message_view(resumed.reply, {}).note == ""
        _, again = await whole(services, ada, resumed)
        assert (again.status, again.ending, again.content) == (first.status, ending, "One ")
        assert message_view(again, {}).note == NOT_CONTINUED
        more.set()
        _, last = await whole(services, ada, await services.chat.go_on(ada, first.id))
        assert (last.status, last.ending, last.content) == ("done", "complete", "One and two.")
        assert message_view(last, {}).note == ""
        assert (await services.quota.allowance(ada.billing)).reserved == 0


async def test_reply_goes_on_once_however_often_it_is_asked(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    hold = asyncio.Event()

    def held(request: dict[str, Any]) -> Answer:
        parts = list(in_parts(request))
        return [*parts[:1], hold, *parts[1:]] if len(request["messages"]) > 2 else parts

    async with product(build_services, tmp_path, held) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        await whole(services, ada, started)
        await services.chat.title_ready(ada, started.conversation_id)
        found = await asyncio.gather(
            *(services.chat.go_on(ada, started.reply.id) for _ in range(3)), return_exceptions=True
        )
        assert any(not isinstance(each, BaseException) for each in found)
        assert all(isinstance(each, NotFound) for each in found if isinstance(each, BaseException))
        hold.set()
        _, message = await whole(services, ada, started)
        assert message.content == "One and two."
        assert len(ledger(database, started.reply.id)) == 2
        assert (await services.quota.allowance(ada.billing)).reserved == 0


async def test_reply_that_goes_on_before_its_first_call_is_cleaned_up_can_still_be_found(
    build_services: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, redis_answers = asyncio.Event(), asyncio.Event()
    close = reply_module.close

    async def close_slowly(log: ReplyLog, log_id: UUID) -> None:
        await redis_answers.wait()
        await close(log, log_id)

    def held(request: dict[str, Any]) -> Answer:
        parts = list(in_parts(request))
        return [*parts[:1], hold, *parts[1:]] if len(request["messages"]) > 2 else parts

    async with product(build_services, tmp_path, held) as (services, _):
        ada = await new_principal(services)
        monkeypatch.setattr(reply_module, "close", close_slowly)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        first = services.running.get(started.reply.id)
        while (await services.chat.message(ada, started.reply.id)).status == "streaming":
            await asyncio.sleep(0.02)
        await services.chat.go_on(ada, started.reply.id)
        going_on = services.running.get(started.reply.id)
        assert going_on is not None
        assert going_on is not first
        redis_answers.set()
        await asyncio.sleep(0.2)
        assert services.running.get(started.reply.id) is going_on
        hold.set()
        _, message = await whole(services, ada, started)
        assert message.content == "One and two."


async def test_continuing_that_is_refused_leaves_the_reply_as_it_was(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path, in_parts) as (services, _):
        ada, eve = await new_principal(services), await new_principal(services)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        await whole(services, ada, started)
        with pytest.raises(NotFound):
            await services.chat.go_on(eve, started.reply.id)
        with pytest.raises(NotFound):
            await services.chat.go_on(ada, started.question.id)
        await services.chat.title_ready(ada, started.conversation_id)
        database("update quota_periods set used = included where user_id = %s", ada.user_id)
        with pytest.raises(QuotaExceeded):
            await services.chat.go_on(ada, started.reply.id)
        message = await services.chat.message(ada, started.reply.id)
        assert (message.status, message.ending, message.content) == ("done", "limit", "One ")
        assert len(ledger(database, started.reply.id)) == 1


@pytest.mark.parametrize("text_came", [True, False])
async def test_process_that_dies_while_a_reply_goes_on_is_paid_for_its_own_part_only(
    build_services: Build, tmp_path: Path, database: Database, text_came: bool
) -> None:
    def dying(request: dict[str, Any]) -> Answer:
        if request["messages"][-1]["content"] == CONTINUE_TEXT:
            return [*says("and two"), HANG] if text_came else [HANG]
        return in_parts(request)

    async with product(build_services, tmp_path, dying) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        await whole(services, ada, started)
        await services.chat.title_ready(ada, started.conversation_id)
        await services.chat.go_on(ada, started.reply.id)
        reply = services.running.get(started.reply.id)
        assert reply is not None
        wanted = "One and two" if text_came else "One "
        while reply.text_from(0).text != wanted:
            await asyncio.sleep(0.01)
        reply.mark_lease_lost()
        while services.running.get(started.reply.id) is not None:
            await asyncio.sleep(0.01)
        database(
            "update reservations set lease_expires_at = now() where message_id = %s",
            started.reply.id,
        )
        await recover(services)
        message = await services.chat.message(ada, started.reply.id)
        ended = ("interrupted", "cut", wanted) if text_came else ("done", "limit", wanted)
        assert (message.status, message.ending, message.content) == ended
        completions = [line[1] for line in ledger(database, started.reply.id)]
        own = services.model.count_tokens("and two") if text_came else 0
        assert sum(map(int, map(str, completions))) == 9 + own
        assert message.completion_tokens == 9 + own
        assert message.thinking == "Hm. "


async def test_reply_that_could_not_go_on_can_be_asked_again(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    broken = True

    def answer(request: dict[str, Any]) -> Answer:
        continues = request["messages"][-1]["content"] == CONTINUE_TEXT
        return [] if broken and continues else in_parts(request)

    async with product(build_services, tmp_path, answer) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        await whole(services, ada, started)
        await services.chat.title_ready(ada, started.conversation_id)
        _, message = await whole(services, ada, await services.chat.go_on(ada, started.reply.id))
        assert (message.status, message.ending, message.content) == ("done", "limit", "One ")
        assert message.error_code == "cut"
        assert message_view(message, {}).note == NOT_CONTINUED
        assert len(ledger(database, message.id)) == 1
        broken = False
        _, message = await whole(services, ada, await services.chat.go_on(ada, started.reply.id))
        assert (message.ending, message.content) == ("complete", "One and two.")
        assert message.error_code is None


async def test_stop_of_a_reply_that_goes_on_keeps_all_of_it(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    def slow(request: dict[str, Any]) -> Answer:
        if request["messages"][-1]["content"] == CONTINUE_TEXT:
            return [*says("and two"), HANG]
        return in_parts(request)

    async with product(build_services, tmp_path, slow) as (services, _):
        ada = await new_principal(services)
        started = await services.chat.send(ada, "count", conversation_id=None, model="demo")
        await whole(services, ada, started)
        await services.chat.title_ready(ada, started.conversation_id)
        resumed = await services.chat.go_on(ada, started.reply.id)
        reply = services.running.get(resumed.reply.id)
        assert reply is not None
        while reply.text_from(0).text != "One and two":
            await asyncio.sleep(0.01)
        await services.chat.stop(ada, resumed.reply.id)
        _, message = await whole(services, ada, resumed)
        assert (message.status, message.content) == ("stopped", "One and two")
        assert [line[1] for line in ledger(database, message.id)] == [
            9,
            services.model.count_tokens("and two"),
        ]
        # The next question has the whole of it as its history.
        again = await services.chat.send(
            ada, "more", conversation_id=started.conversation_id, model="demo"
        )
        await services.chat.stop(ada, again.reply.id)
        await whole(services, ada, again)


def test_continue_text_is_what_the_demo_model_goes_on_at() -> None:
    from devstack.demo_model.answers import said_so_far

    messages = [
        {"role": "user", "content": "long 400"},
        {"role": "assistant", "content": "One "},
        {"role": "user", "content": CONTINUE_TEXT},
    ]
    assert said_so_far(messages) == "One "
    assert said_so_far(messages[:2]) is None
