"""Rows to what is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from aisaas.billing.models import Allowance
from aisaas.chat.models import Conversation, ConversationPage, Message
from aisaas.errors import QuotaExceeded, Unauthenticated
from aisaas.ui.chat import view
from aisaas.ui.notices import refusal_view
from aisaas.ui.session import meter_view

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
