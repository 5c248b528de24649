"""Rows to what is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from aisaas.billing.reservations.models import Allowance
from aisaas.chat.models import (
    Conversation,
    ConversationPage,
    Message,
)
from aisaas.db.paging import Cursor, Page
from aisaas.errors import NotFound, QuotaExceeded, Unauthenticated
from aisaas.ui.chat import view
from aisaas.ui.notices import refusal_view
from aisaas.ui.payloads import conversation_cursor
from aisaas.ui.session import meter_view

# The same in each run, so that workers agree on the names of tests.
SOME_ID = "9a0ebb7e-f8d2-4b20-a749-22d5cf045d8c"


NOW = datetime(2031, 5, 4, 12, 30, tzinfo=UTC)
LABELS = {"m-large": "Large", "m-small": "Small"}


def message(**values: Any) -> Message:
    given: dict[str, Any] = {
        "id": uuid4(),
        "conversation_id": uuid4(),
        "user_id": uuid4(),
        "role": "assistant",
        "status": "done",
        "content": "text",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Message(**(given | values))


def test_a_reply_shows_its_receipt() -> None:
    shown = view.message_view(
        message(
            model="m-large",
            answered_by="m-large",
            prompt_tokens=1200,
            completion_tokens=34,
            quota_tokens=1234,
            cost_usd=Decimal("0.000780"),
        ),
        LABELS,
    )
    assert (shown.model, shown.tokens) == ("Large", "1,200 tokens in, 34 out")
    assert shown.fallback == shown.note == shown.cut == ""


def test_a_receipt_says_what_the_customer_pays_and_only_an_admin_what_the_operator_pays() -> None:
    reply = message(
        prompt_tokens=1200,
        completion_tokens=34,
        quota_tokens=2468,
        overage_usd=Decimal("0.02468"),
        cost_usd=Decimal("0.000780"),
    )
    shown = view.message_view(reply, LABELS)
    assert shown.tokens == "1,200 tokens in, 34 out, counted as 2,468"
    assert (shown.charge, shown.cost) == ("$0.024680 extra", "")
    assert "0.00078" not in str(shown)
    assert view.message_view(reply, LABELS, admin=True).cost == "provider cost $0.000780"


def test_a_receipt_says_how_much_of_it_was_thinking() -> None:
    reply = message(prompt_tokens=10, completion_tokens=34, thinking_tokens=30)
    assert view.message_view(reply, LABELS).tokens == "10 tokens in, 34 out (30 thinking)"


@pytest.mark.parametrize(
    ("seconds", "label"),
    [
        (None, ""),
        (0, "Thought for a moment"),
        (1, "Thought for 1 s"),
        (59, "Thought for 59 s"),
        (60, "Thought for 1 min 0 s"),
        (125, "Thought for 2 min 5 s"),
    ],
)
def test_thinking_is_shown_with_its_time(seconds: int | None, label: str) -> None:
    shown = view.message_view(message(thinking="Hm.", thinking_seconds=seconds), LABELS)
    assert (shown.thought, shown.thinking, shown.thinking_size) == (label, "Hm.", 3)


@pytest.mark.parametrize(
    ("ending", "status", "text"),
    [
        ("limit", "done", "length limit"),
        ("filtered", "interrupted", "content filter"),
        ("refused", "failed", "declined"),
        ("empty", "failed", "empty"),
        ("only_thinking", "failed", "thinking"),
        ("stopped", "stopped", "You stopped"),
        ("cut", "interrupted", "cut off"),
        ("failed", "failed", "didn't reply"),
    ],
)
def test_each_ending_has_its_sentence_and_a_retry(ending: str, status: str, text: str) -> None:
    shown = view.message_view(message(ending=ending, status=status), LABELS)
    assert text in shown.note
    assert shown.retry
    assert shown.go_on == (ending in {"limit", "stopped", "cut"})


def test_a_reply_that_is_complete_needs_no_note() -> None:
    shown = view.message_view(message(ending="complete"), LABELS)
    assert (shown.note, shown.retry, shown.go_on) == ("", False, False)


def test_a_running_reply_says_whether_it_may_think_and_for_how_long_it_has_run() -> None:
    running = message(status="streaming", content="", updated_at=datetime.now(UTC))
    shown = view.message_view(running, LABELS, with_text=False, thinks=True)
    assert (shown.thinks, shown.thinking, shown.thinking_size) == (True, None, None)
    assert 0 <= shown.waited < 60
    assert not view.message_view(message(), LABELS, thinks=True).thinks


@pytest.mark.parametrize("used", [0, None])
def test_a_reply_that_used_nothing_has_no_receipt(used: int | None) -> None:
    free = Decimal(0) if used == 0 else None
    reply = message(prompt_tokens=used, completion_tokens=used, cost_usd=free, overage_usd=free)
    shown = view.message_view(reply, LABELS, admin=True)
    assert shown.tokens == shown.charge == shown.cost == ""


def test_a_fallback_is_named() -> None:
    shown = view.message_view(message(model="m-large", answered_by="m-small"), LABELS)
    assert shown.model == "Small"
    assert shown.fallback == "Large was unavailable, so Small replied"


def test_a_cut_history_is_mentioned() -> None:
    assert view.message_view(message(history_cut=3), LABELS).cut == view.CUT


@pytest.mark.parametrize("status", ["stopped", "interrupted", "failed"])
def test_an_ending_before_the_end_is_explained(status: str) -> None:
    assert view.message_view(message(status=status), LABELS).note


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({}, False),
        ({"status": "streaming", "content": ""}, False),
        ({"role": "user", "content": ""}, False),
        *(({"status": status}, True) for status in ("stopped", "interrupted", "failed")),
        *(({"content": content}, True) for content in ("", " \n", "\u200b\u2060", "\u00a0")),
        ({"content": "\u200b."}, False),
    ],
)
def test_a_reply_that_lacks_something_can_be_retried(values: dict[str, Any], shown: bool) -> None:
    found = view.message_view(message(**values), LABELS)
    assert found.retry == shown
    assert bool(found.note) == shown


@pytest.mark.parametrize(
    ("prompt", "completion", "usd", "receipt"),
    [
        (None, None, None, False),
        (0, 0, Decimal(0), False),
        (120, 0, Decimal(0), False),
        (120, 1, Decimal(0), True),
        (120, 0, Decimal("0.000001"), True),
    ],
)
def test_where_nothing_was_produced_or_charged_there_is_no_receipt(
    prompt: int | None, completion: int | None, usd: Decimal | None, receipt: bool
) -> None:
    found = message(prompt_tokens=prompt, completion_tokens=completion, cost_usd=usd)
    shown = view.message_view(found, LABELS, admin=True)
    assert bool(shown.tokens) == receipt
    assert receipt or not shown.cost


def test_the_place_behind_a_row_survives_the_browser() -> None:
    at = datetime(2031, 5, 4, 12, 30, 1, 7, tzinfo=timezone(timedelta(hours=2)))
    row = Conversation(id=uuid4(), user_id=uuid4(), model="m", last_message_at=at)  # pyright: ignore[reportCallIssue]
    shown = view.conversation_view(row)
    found = conversation_cursor(f"{shown.at}/{shown.id}")
    assert found == Cursor(at, row.id)
    listed = view.list_view(Page([row], found, older=True), found)
    assert listed.before == f"{shown.at}/{shown.id}"
    assert (listed.items, listed.more) == ([shown], True)


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "/",
        7,
        None,
        f"yesterday/{SOME_ID}",
        f"2031-05-04T12:30:00/{SOME_ID}",
        f"0001-01-01T00:00:00+14:00/{SOME_ID}",
        "2031-05-04T12:30:00+00:00/7",
    ],
)
def test_a_place_that_is_none_is_refused(junk: object) -> None:
    with pytest.raises(NotFound):
        conversation_cursor(junk)


def test_a_running_reply_has_no_final_length() -> None:
    assert view.message_view(message(status="streaming", content=""), LABELS).size is None
    assert view.message_view(message(content="für"), LABELS).size == 3


def test_text_is_left_out_where_the_browser_has_it() -> None:
    assert view.message_view(message(), LABELS, with_text=False).text is None


def test_a_page_has_the_running_replys_text_so_far() -> None:
    running = message(status="streaming", content="")
    row: dict[str, Any] = {"id": running.conversation_id}
    page = ConversationPage(
        conversation=Conversation(**row),
        messages=[message(role="user", content="question"), running],
        has_older=True,
    )
    shown = view.page_view(page, LABELS, {running.id: "so far"})
    assert [item.text for item in shown.items] == ["question", "so far"]
    assert shown.older


@pytest.mark.parametrize(
    ("used", "limit", "percent", "level"),
    [
        (0, 10_000, 0, "calm"),
        (7_999, 10_000, 79, "calm"),
        (8_000, 10_000, 80, "near"),
        (9_999, 10_000, 99, "near"),
        (10_000, 10_000, 100, "full"),
        (10_400, 10_000, 100, "full"),
        (0, 0, 100, "full"),
    ],
)
def test_the_meter_stays_within_its_scale(used: int, limit: int, percent: int, level: str) -> None:
    shown = meter_view(Allowance("month", NOW, NOW, used=used, reserved=0, included=limit))
    assert (shown.percent, shown.level) == (percent, level)
    assert 0 <= shown.used <= shown.limit
    assert shown.label == f"{used:,} of {limit:,} tokens"


def test_a_refusal_says_when_to_come_back() -> None:
    shown = refusal_view(QuotaExceeded(retry_at=NOW), nonce="n1")
    assert (shown.code, shown.retry_at) == ("quota_exceeded", "2031-05-04T12:30:00+00:00")
    assert shown.nonce == "n1"


def test_a_lost_session_leads_to_sign_in_and_back() -> None:
    shown = refusal_view(Unauthenticated(), path="/chat/5b1c")
    assert shown.href == "/login?redirectTo=/chat/5b1c"
