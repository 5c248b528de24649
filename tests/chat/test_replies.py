"""One reply's life on the real parts: what is shown, what is stored, what is booked."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from aisaas.billing.ledger.models import Outcome
from aisaas.chat.guards import HISTORY_MESSAGES
from aisaas.chat.models import Conversation
from aisaas.chat.prompt import count
from aisaas.errors import Busy, NotFound
from aisaas.language_models import Usage
from aisaas.wiring import Services
from devstack.demo_model.tokens import count_prompt, split_tokens
from tests.services import IN_TIME, Account, Build, Database, new_principal, whole


async def test_finished_reply_is_stored_as_shown_and_booked_by_the_providers_counts(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    started = await services.chat.send(ada, "long 120", conversation_id=None, model="demo")
    shown, stored = await whole(services, ada, started)
    assert stored.status == "done"
    assert stored.content == shown
    assert stored.completion_tokens == len(split_tokens(shown)) == 120
    (row,) = database(
        "select prompt_tokens, completion_tokens, counted_by, outcome, cost_usd, quota_tokens"
        " from usage_records where message_id = %s",
        started.reply.id,
    )
    prompt = stored.prompt_tokens
    assert prompt is not None
    expected = (prompt * Decimal("0.15") + 120 * Decimal("0.60")) / 1_000_000
    assert row == (prompt, 120, "provider", "done", round(expected, 6), prompt + 120)


async def test_title_comes_through_the_door_and_into_the_ledger(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    started = await services.chat.send(
        ada, "What protects my bill?", conversation_id=None, model="demo"
    )
    title = await services.chat.title_ready(ada, started.conversation_id)
    assert title is not None
    page = await services.conversations.open(ada, started.conversation_id)
    assert page.conversation.title == title != "New Conversation"
    # A subscriber that comes late, because the title was quicker, gets it too.
    assert await services.chat.title_ready(ada, started.conversation_id) == title
    assert database(
        "select purpose, count(*) from usage_records where user_id = %s group by 1 order by 1",
        ada.user_id,
    ) == [("reply", 1), ("title", 1)]


async def test_allowance_is_what_the_ledger_sums_to(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    for text in ("hello", "long 50", "cut after 9"):
        started = await services.chat.send(ada, text, conversation_id=None, model="demo")
        await whole(services, ada, started)
        await services.chat.title_ready(ada, started.conversation_id)
    ((total,),) = database(
        "select sum(quota_tokens) from usage_records where user_id = %s", ada.user_id
    )
    allowance = await services.quota.allowance(ada.billing)
    assert (allowance.used, allowance.reserved) == (total, 0)


@pytest.mark.parametrize("after", [0, 1, 5, 30])
async def test_stopped_reply_keeps_and_bills_what_was_shown(
    services: Services, account: Account, after: int
) -> None:
    ada = await account()
    started = await services.chat.send(
        ada, "long 400 speed 100", conversation_id=None, model="demo"
    )
    shown = ""
    if after == 0:
        await services.chat.stop(ada, started.reply.id)
    async for segment in services.chat.follow(ada, started.reply.id):
        shown += segment.text
        if len(shown) >= after > 0:
            await services.chat.stop(ada, started.reply.id)
    stored = await services.chat.message(ada, started.reply.id)
    assert stored.status == "stopped"
    assert stored.content == shown
    assert len(split_tokens(shown)) < 400
    assert stored.completion_tokens == services.model.count_tokens(shown)
    await services.chat.title_ready(ada, started.conversation_id)
    assert (await services.quota.allowance(ada.billing)).reserved == 0


async def test_stopping_aborts_the_upstream_call(services: Services, account: Account) -> None:
    ada = await account()
    started = await services.chat.send(ada, "stall after 3", conversation_id=None, model="demo")
    async for segment in services.chat.follow(ada, started.reply.id):
        if segment.text:
            await services.chat.stop(ada, started.reply.id)
    running = [task for task in asyncio.all_tasks() if "_pump_upstream" in repr(task)]
    assert running == []
    assert (await services.chat.message(ada, started.reply.id)).status == "stopped"


@pytest.mark.parametrize("command", ["fail", "error 429", "fail after 0"])
async def test_reply_that_fails_before_its_first_word_costs_nothing(
    services: Services, account: Account, database: Database, command: str
) -> None:
    ada = await account()
    started = await services.chat.send(ada, command, conversation_id=None, model="demo")
    shown, stored = await whole(services, ada, started)
    assert (shown, stored.status, stored.cost_usd) == ("", "failed", Decimal(0))
    assert not database("select 1 from usage_records where message_id = %s", started.reply.id)
    assert database("select state from reservations where message_id = %s", started.reply.id) == [
        ("released",)
    ]


@pytest.mark.parametrize("command", ["cut after 40", "fail after 40"])
async def test_stream_without_a_finish_reason_is_interrupted_not_done(
    services: Services, account: Account, command: str
) -> None:
    ada = await account()
    started = await services.chat.send(ada, command, conversation_id=None, model="demo")
    shown, stored = await whole(services, ada, started)
    assert stored.status == "interrupted"
    assert stored.content == shown
    # An aborted connection may take along what was on its way.
    words = len(split_tokens(shown))
    assert words == 40 if command.startswith("cut") else 0 < words <= 40
    assert stored.completion_tokens == services.model.count_tokens(shown)
    assert stored.prompt_tokens is not None
    assert stored.prompt_tokens > 0


async def test_retry_answers_the_same_question_again_and_keeps_the_first_try(
    services: Services, account: Account
) -> None:
    ada = await account()
    first = await services.chat.send(ada, "cut after 5", conversation_id=None, model="demo")
    await whole(services, ada, first)
    again = await services.chat.retry(ada, first.reply.id)
    assert again.question.id == first.question.id
    assert again.conversation_id == first.conversation_id
    await whole(services, ada, again)
    page = await services.conversations.open(ada, first.conversation_id)
    assert [m.role for m in page.messages] == ["user", "assistant", "assistant"]


@pytest.mark.parametrize("command", ["silent 60", "stall after 6"])
async def test_silent_provider_is_given_up_on(build_services: Build, command: str) -> None:
    async with build_services(
        first_token_timeout_seconds=0.3, token_gap_timeout_seconds=0.3
    ) as impatient:
        ada = await new_principal(impatient)
        started = await impatient.chat.send(ada, command, conversation_id=None, model="demo")
        shown, stored = await whole(impatient, ada, started)
    assert stored.error_code == "timeout"
    assert stored.status == ("interrupted" if shown else "failed")


async def test_fallback_answers_before_the_first_word_and_says_so(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    started = await services.chat.send(ada, "hello", conversation_id=None, model="broken")
    shown, stored = await whole(services, ada, started)
    assert shown
    assert (stored.status, stored.model, stored.answered_by) == ("done", "broken", "demo")
    ((model, weight, price),) = database(
        "select model, weight, input_usd_per_million from usage_records where message_id = %s",
        started.reply.id,
    )
    # The fallback's own price, and never more quota than the dearer of asked and answered.
    assert (model, weight, price) == ("demo", Decimal(1), Decimal("0.15"))


async def test_no_fallback_after_the_first_word(services: Services, account: Account) -> None:
    ada = await account()
    started = await services.chat.send(ada, "fail after 3", conversation_id=None, model="broken")
    shown, stored = await whole(services, ada, started)
    assert stored.status == "interrupted"
    assert len(split_tokens(shown)) == 3


async def test_oldest_turns_are_left_out_when_the_window_is_full(
    services: Services, account: Account
) -> None:
    ada = await account()
    conversation = None
    cut = 0
    for number in range(12):
        started = await services.chat.send(
            ada,
            f"Question {number} " + "word " * 60,
            conversation_id=conversation,
            model="small-window",
        )
        conversation = started.conversation_id
        _, stored = await whole(services, ada, started)
        assert stored.status == "done"
        assert stored.history_cut >= cut
        # Two messages to a turn, and turns are never split.
        assert stored.history_cut % 2 == 0
        cut = stored.history_cut
    assert cut > 0


async def test_fourth_parallel_reply_is_refused_until_one_ends(
    services: Services, account: Account
) -> None:
    ada = await account()
    running = [
        await services.chat.send(ada, "long 400 speed 20", conversation_id=None, model="demo")
        for _ in range(3)
    ]
    with pytest.raises(Busy):
        await services.chat.send(ada, "hello", conversation_id=None, model="demo")
    await services.chat.stop(ada, running[0].reply.id)
    await whole(services, ada, running[0])
    fourth = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
    for started in (*running[1:], fourth):
        await services.chat.stop(ada, started.reply.id)
        await whole(services, ada, started)


async def test_second_tab_and_second_process_see_the_same_text(
    services: Services, account: Account, build_services: Build
) -> None:
    ada = await account()
    async with build_services() as elsewhere:
        started = await services.chat.send(
            ada, "long 150 speed 150", conversation_id=None, model="demo"
        )
        results = await asyncio.gather(
            whole(services, ada, started),
            whole(services, ada, started),
            whole(elsewhere, ada, started),
        )
    texts = {shown for shown, _ in results}
    assert len(texts) == 1
    assert {stored.status for _, stored in results} == {"done"}
    assert texts == {results[0][1].content}


async def test_reply_is_stopped_from_another_process(
    services: Services, account: Account, build_services: Build
) -> None:
    ada = await account()
    async with build_services() as elsewhere:
        started = await services.chat.send(
            ada, "long 2000 speed 40", conversation_id=None, model="demo"
        )
        async for segment in elsewhere.chat.follow(ada, started.reply.id):
            assert segment.text
            await elsewhere.chat.stop(ada, started.reply.id)
            break
        _, stored = await whole(services, ada, started)
    assert stored.status == "stopped"


async def test_missed_text_is_read_from_any_offset(services: Services, account: Account) -> None:
    ada = await account()
    started = await services.chat.send(ada, "long 60", conversation_id=None, model="demo")
    shown, _ = await whole(services, ada, started)
    for offset in (0, 1, len(shown) // 2, len(shown), len(shown) + 50):
        segment = await services.chat.text_from(ada, started.reply.id, offset)
        assert segment.text == shown[offset:]


async def test_the_list_of_conversations_has_no_end(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    # Several of one moment, so that the id has to decide.
    database(
        "insert into conversations (user_id, model, last_message_at)"
        " select %s, 'demo', now() - make_interval(mins => n / 3) from generate_series(1, 2500) n",
        ada.user_id,
    )
    listed: list[Conversation] = []
    before = None
    while True:
        page = await services.conversations.list(ada, before=before, limit=100)
        listed += page.found
        if not page.older:
            break
        assert len(page.found) == 100
        before = page.end
    assert len({row.id for row in listed}) == len(listed) == 2500
    places = [(row.last_message_at, row.id) for row in listed]
    assert places == sorted(places, reverse=True)


@pytest.mark.parametrize("rows", [99, 100, 101])
async def test_a_page_of_the_list_knows_whether_there_are_more(
    services: Services, account: Account, database: Database, rows: int
) -> None:
    ada = await account()
    database(
        "insert into conversations (user_id, model) select %s, 'demo' from generate_series(1, %s)",
        ada.user_id,
        rows,
    )
    page = await services.conversations.list(ada, limit=100)
    assert (len(page.found), page.older) == (min(rows, 100), rows > 100)
    # However many are asked for, a page has its size.
    assert len((await services.conversations.list(ada, limit=10_000)).found) <= 100


async def test_nobody_reads_stops_or_retries_another_users_reply(
    services: Services, account: Account
) -> None:
    ada, eve = await account(), await account()
    started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
    with pytest.raises(NotFound):
        await services.chat.text_from(eve, started.reply.id, 0)
    with pytest.raises(NotFound):
        await services.chat.stop(eve, started.reply.id)
    with pytest.raises(NotFound):
        await services.chat.retry(eve, started.reply.id)
    with pytest.raises(NotFound):
        await anext(services.chat.follow(eve, started.reply.id))
    with pytest.raises(NotFound):
        await services.chat.send(
            eve, "mine now", conversation_id=started.conversation_id, model="demo"
        )
    _, stored = await whole(services, ada, started)
    assert stored.status == "done"


async def test_shutdown_settles_running_replies_as_interrupted(
    build_services: Build, services: Services
) -> None:
    async with build_services() as ending:
        ada = await new_principal(ending)
        started = await ending.chat.send(
            ada, "long 2000 speed 30", conversation_id=None, model="demo"
        )
        async for segment in ending.chat.follow(ada, started.reply.id):
            if segment.text:
                break
    stored = await services.chat.message(ada, started.reply.id)
    assert (stored.status, stored.error_code) == ("interrupted", "shutdown")
    assert stored.content
    assert (await services.quota.allowance(ada.billing)).reserved == 0


def test_prompt_estimate_covers_what_the_demo_model_counts() -> None:
    from aisaas.chat.ports import Turn
    from aisaas.chat.prompt import upper_estimate

    for text in ("hello", "a" * 9000, "日本語" * 500, "\n" * 4000, "word " * 2000):
        turn = Turn("user", text, 1)
        assert upper_estimate([turn]) >= count_prompt([{"role": "user", "content": text}])
        assert count([turn]) > 0


def test_usage_is_charged_by_how_the_reply_ended() -> None:
    from aisaas.chat.settle import Produced, counts

    def produced(outcome: Outcome, text: str, usage: Usage | None, *, complete: bool) -> Produced:
        return Produced(
            outcome=outcome, text=text, answered=None, usage=usage, complete=complete, started=True
        )

    reported = Usage(10, 20, 3)
    whole_usage = counts(produced("done", "abc", reported, complete=True), 99, len, max_tokens=100)
    assert (whole_usage.prompt_tokens, whole_usage.completion_tokens) == (10, 20)
    cut = counts(produced("interrupted", "abc", reported, complete=False), 99, len, max_tokens=100)
    assert (cut.prompt_tokens, cut.completion_tokens, cut.counted_by) == (10, 3, "estimate")
    stopped = counts(produced("stopped", "", None, complete=False), 99, len, max_tokens=100)
    assert (stopped.prompt_tokens, stopped.completion_tokens) == (99, 0)
    failed = counts(produced("failed", "", reported, complete=False), 99, len, max_tokens=100)
    assert (failed.prompt_tokens, failed.completion_tokens) == (0, 0)


async def test_tokens_of_a_question_are_counted_by_the_server_when_it_settles(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    text = "How many tokens is this sentence?"
    started = await services.chat.send(ada, text, conversation_id=None, model="demo")
    assert database("select token_count from messages where id = %s", started.question.id) == [(0,)]
    await whole(services, ada, started)
    assert database("select token_count from messages where id = %s", started.question.id) == [
        (services.model.count_tokens(text),)
    ]


@pytest.mark.parametrize(("before", "cut"), [(HISTORY_MESSAGES, 0), (HISTORY_MESSAGES + 2, 2)])
async def test_reply_says_when_messages_are_older_than_what_is_read(
    services: Services, account: Account, database: Database, before: int, cut: int
) -> None:
    ada = await account()
    started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
    await whole(services, ada, started)
    await services.chat.title_ready(ada, started.conversation_id)
    # Short turns that came before it, far from what fills a context window.
    database(
        """
        with q as (
          insert into messages (conversation_id, user_id, role, content, token_count, created_at)
          select %s, %s, 'user', 'question', 1, now() - make_interval(hours => n + 2)
          from generate_series(1, %s) n returning id, conversation_id, user_id, created_at
        )
        insert into messages (conversation_id, user_id, role, content, token_count, reply_to,
          created_at)
        select conversation_id, user_id, 'assistant', 'answer', 1, id,
          created_at + interval '1 minute'
        from q
        """,
        started.conversation_id,
        ada.user_id,
        before // 2 - 1,
    )
    database(IN_TIME, started.conversation_id)
    again = await services.chat.send(
        ada, "and now?", conversation_id=started.conversation_id, model="demo"
    )
    _, stored = await whole(services, ada, again)
    assert (stored.status, stored.history_cut) == ("done", cut)
    # Answering a question once more reads what came before it.
    retried = await services.chat.retry(ada, again.reply.id)
    _, stored = await whole(services, ada, retried)
    assert (stored.status, stored.history_cut) == ("done", cut)
