"""The demo model's clock: what a measurement of lag stands on."""

from __future__ import annotations

from devstack.demo_model.app import plan_reply
from devstack.demo_model.requests import ChatRequest


def test_ticks_are_as_many_tokens_as_asked_for() -> None:
    chat = ChatRequest(
        model="demo",
        messages=[{"role": "user", "content": "ticks 25 speed 50"}],
        stream=True,
        include_usage=True,
        most_tokens=None,
    )
    plan = plan_reply(chat, tokens_per_second=0)
    assert (plan.ticks, len(plan.tokens), plan.speed) == (True, 25, 50)
