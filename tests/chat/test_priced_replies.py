"""Replies of a model whose price has tiers and kinds of tokens: what is reserved, booked, and recovered."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from aisaas.billing.ledger import price_store
from aisaas.billing.ledger.recompute import Receipt, recompute
from aisaas.wiring import Services
from tests.adapters.test_rubbish import event
from tests.chat.test_untrusted_replies import DONE, Provider, finish, product
from tests.services import Build, Database, new_principal, whole

pytestmark = pytest.mark.usefixtures("patience")

TIERED = {
    "id": "tiered",
    "label": "Tiered",
    "provider": "demo",
    "upstream": "openai/tiered",
    "context_window": 16000,
    "max_output": 4096,
    "weight": "1",
    "plans": ["free", "pro", "business"],
    "fallback": None,
    "price": {
        "input_usd": "1",
        "output_usd": "2",
        "cached_input_usd": "0.1",
        "cache_write_usd": "1.25",
        "thinking_usd": "4",
        "version": "tiered-1",
        "tiers": [
            {
                "above": 100,
                "input_usd": "10",
                "output_usd": "20",
                "cached_input_usd": "1",
                "cache_write_usd": "12.5",
                "thinking_usd": "40",
            }
        ],
    },
}


def reports(
    prompt: int, completion: int, *, cached: int = 0, write: int = 0, thinking: int = 0
) -> bytes:
    return event(
        {},
        choices=[],
        usage={
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": write},
            "completion_tokens_details": {"reasoning_tokens": thinking},
        },
    )


@asynccontextmanager
async def selling(
    build_services: Build, tmp_path: Path
) -> AsyncGenerator[tuple[Services, Provider]]:
    async with product(build_services, tmp_path) as (services, provider):
        path = tmp_path / "catalogue.json"
        path.write_text(json.dumps([*json.loads(path.read_text()), TIERED]))
        async with build_services(
            model_catalogue=path, demo_api_base=services.settings.demo_api_base, run_jobs=False
        ) as again:
            yield again, provider


async def receipt_of(services: Services, database: Database, message_id: object) -> Receipt:
    ((line_id, at),) = database(
        "select id, (created_at at time zone 'UTC')::date from usage_records where message_id = %s",
        message_id,
    )
    async with services.prices._database.transaction() as session:  # pyright: ignore[reportPrivateUsage]
        lines = await price_store.priced_lines(session, at, at, after=None, limit=100_000)  # pyright: ignore[reportArgumentType]
    return next(recompute(line) for line in lines if line.id == line_id)


@pytest.mark.parametrize(
    ("prompt", "cost"),
    # 20 read from the cache, 30 written to it; of 12 tokens out 5 were thought.
    [(100, "0.000124"), (101, "0.001245")],
)
async def test_each_kind_of_token_is_booked_at_its_own_price(
    build_services: Build, tmp_path: Path, database: Database, prompt: int, cost: str
) -> None:
    async with selling(build_services, tmp_path) as (services, provider):
        provider.reply = [
            event({"content": "Once upon a time."}),
            finish(),
            reports(prompt, 12, cached=20, write=30, thinking=5),
            DONE,
        ]
        ada = await new_principal(services)
        started = await services.chat.send(ada, "hello", conversation_id=None, model="tiered")
        _, stored = await whole(services, ada, started)
        assert stored.cost_usd == Decimal(cost)
        assert database(
            "select cached_prompt_tokens, cache_write_tokens, thinking_tokens, price_version"
            " from usage_records where message_id = %s",
            started.reply.id,
        ) == [(20, 30, 5, "tiered-1")]
        receipt = await receipt_of(services, database, started.reply.id)
        assert (receipt.state, receipt.computed_usd) == ("same", Decimal(cost))
        ((held,),) = database(
            "select cost_usd from reservations where message_id = %s", started.reply.id
        )
        assert Decimal(str(held)) >= Decimal(cost)


async def test_reservation_is_at_the_tier_that_the_prompt_may_reach(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with selling(build_services, tmp_path) as (services, _):
        ada = await new_principal(services)
        for text, into, out in (("hello", 10, 40), ("hello " * 60, 10, 40)):
            started = await services.chat.send(ada, text, conversation_id=None, model="tiered")
            await whole(services, ada, started)
            await services.chat.title_ready(ada, started.conversation_id)
            ((held, prompt, most),) = database(
                "select cost_usd, prompt_estimate, max_tokens from reservations"
                " where message_id = %s",
                started.reply.id,
            )
            prompt, most = int(str(prompt)), int(str(most))
            reached = (Decimal("12.5"), 40) if prompt > 100 else (Decimal("1.25"), 4)
            expected = (prompt * reached[0] + most * reached[1]) / 1_000_000
            assert Decimal(str(held)) == round(expected, 6), (into, out)
