"""What is charged never exceeds what was reserved: in tokens, in money, whichever process settles."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisaas.billing.ledger import losses
from aisaas.billing.ledger.models import ProviderBill
from aisaas.billing.reservations.models import Held
from aisaas.billing.reservations.quota import book, cost_usd, fitted, quota_tokens
from aisaas.language_models import Usage
from aisaas.prices import Price
from tests.billing.conftest import Billing, charge, claim, model

MOST = st.integers(0, 50_000)


@given(
    estimate=st.integers(1, 5000),
    granted=st.integers(1, 5000),
    prompt=MOST,
    cached=MOST,
    completion=MOST,
    prices=st.tuples(st.integers(0, 100), st.integers(0, 500)),
    weight=st.sampled_from(["0.3", "1", "7.25"]),
)
def test_charge_is_fitted_to_its_reservation_and_as_large_as_fits(
    estimate: int,
    granted: int,
    prompt: int,
    cached: int,
    completion: int,
    prices: tuple[int, int],
    weight: str,
) -> None:
    of = replace(
        model(weight), price=Price(Decimal(prices[0]), Decimal(prices[1]), Decimal(0), "tests")
    )
    held = Held(
        quota_tokens(of.weight, estimate + granted),
        cost_usd(of, prompt_tokens=estimate, completion_tokens=granted),
        estimate,
        granted,
    )
    wanted = replace(
        charge(claim(UUID(int=1), of=of), completion, prompt=prompt),
        cached_prompt_tokens=min(cached, prompt),
    )
    found = fitted(wanted, held)

    def fits(tokens_in: int, tokens_out: int) -> bool:
        cost = cost_usd(
            of,
            prompt_tokens=tokens_in,
            completion_tokens=tokens_out,
            cached_prompt_tokens=min(wanted.cached_prompt_tokens, tokens_in),
        )
        within = quota_tokens(of.weight, tokens_in + tokens_out) <= held.quota_tokens
        return within and cost <= held.cost_usd

    assert fits(found.prompt_tokens, found.completion_tokens)
    assert found.prompt_tokens <= prompt
    assert found.completion_tokens <= completion
    assert found.cached_prompt_tokens <= found.prompt_tokens
    if fits(prompt, completion):
        assert found == wanted
    else:
        # Nobody gives up more than must be.
        assert found.prompt_tokens == prompt or not fits(
            found.prompt_tokens + 1, found.completion_tokens
        )
    if prompt <= estimate and completion <= granted:
        assert found == wanted


@pytest.mark.parametrize(
    ("prompt", "completion", "booked"),
    [
        (100, 400, (100, 400)),
        (0, 500, (0, 500)),
        (101, 400, (100, 400)),
        (150, 350, (150, 350)),
        (150, 351, (149, 351)),
        (100, 401, (100, 400)),
        (10_000_000, 10_000_000, (100, 400)),
        (10_000_000, 0, (500, 0)),
        (0, 10_000_000, (0, 500)),
    ],
)
async def test_line_quota_and_outbox_have_the_same_and_no_more_than_was_held(
    billing: Billing, someone: UUID, prompt: int, completion: int, booked: tuple[int, int]
) -> None:
    # Nothing is included: all of it costs extra.
    mine = claim(someone, free=False, limit=0, overage=500, of=model(usd="1"))
    assert await billing.quota().reserve(mine) == 400
    used = charge(mine, completion, prompt=prompt, customer="cus_1")
    async with billing.service.transaction() as session:
        done = await book(session, replace(used, overage_usd_per_million=Decimal(10)))
    assert done is not None
    assert (done.charge.prompt_tokens, done.charge.completion_tokens) == booked
    assert billing.sql(
        "select u.prompt_tokens, u.completion_tokens, u.quota_tokens, o.tokens, q.used, q.reserved"
        " from usage_records u join usage_outbox o on o.usage_record_id = u.id"
        " join quota_periods q on q.user_id = u.user_id where u.user_id = %s",
        someone,
    ) == [(*booked, sum(booked), sum(booked), sum(booked), 0)]


async def test_money_is_bounded_where_tokens_are_not(billing: Billing, someone: UUID) -> None:
    of = replace(model(), price=Price(Decimal(1), Decimal(50), Decimal(1), "tests"))
    mine = claim(someone, of=of)
    await billing.quota().reserve(mine)
    before = billing.day("total")[0]
    async with billing.service.transaction() as session:
        # As many tokens as are held, but more of the dear kind.
        done = await book(session, charge(mine, 500))
    assert done is not None
    assert done.cost_usd <= done.held.cost_usd
    # What was held for the prompt pays for two more.
    assert done.charge.completion_tokens == 402
    assert billing.day("total")[0] - before == done.cost_usd


async def test_database_holds_the_bound_whichever_process_settles(
    billing: Billing, someone: UUID
) -> None:
    mine = claim(someone, of=model(usd="1"))
    await billing.quota().reserve(mine)
    before = billing.day("free")[0], billing.day("total")[0]
    billing.sql("select * from private.close_reservation(%s, 5000000, 5000)", str(mine.request_id))
    assert billing.held(someone) == (500, 0)
    after = billing.day("free")[0], billing.day("total")[0]
    assert after == tuple(spent + Decimal("0.0005") for spent in before)


async def test_credits_pay_no_more_than_was_held(billing: Billing, someone: UUID) -> None:
    billing.sql(
        "insert into credit_grants (user_id, tokens, reason, granted_by)"
        " values (%s, 1000000, 'tests', 'tests')",
        someone,
    )
    mine = claim(someone, limit=0)
    assert await billing.quota().reserve(mine) == 400
    async with billing.service.transaction() as session:
        await book(session, charge(mine, 5_000_000))
    assert billing.sql("select spent from credit_grants where user_id = %s", someone) == [(500,)]


async def test_loss_is_what_may_be_billed_beyond_the_charge(
    billing: Billing, someone: UUID
) -> None:
    of = model(usd="10")
    mine = claim(someone, of=of)
    await billing.quota().reserve(mine)
    bill = ProviderBill(of, "reservation", 120, 0, 900, Usage(120, 900), 100, 30)
    async with billing.service.transaction() as session:
        booked = await book(session, charge(mine, 900, prompt=120))
        assert booked is not None
        loss = await losses.record(session, booked, bill, to_webhook=False)
    assert loss is not None
    assert (loss.tokens, loss.usd) == (520, Decimal("0.0052"))
    assert billing.sql(
        "select reason, reported_prompt_tokens, reported_completion_tokens, counted_prompt_tokens,"
        " counted_completion_tokens, reserved_prompt_tokens, reserved_completion_tokens,"
        " charged_prompt_tokens, charged_completion_tokens, charged_usd, lost_tokens, lost_usd"
        " from private.usage_losses where reservation_id = %s",
        mine.request_id,
    ) == [
        (
            "reservation",
            120,
            900,
            100,
            30,
            100,
            400,
            100,
            400,
            Decimal("0.005"),
            520,
            Decimal("0.0052"),
        )
    ]


async def test_what_is_charged_in_full_is_no_loss(billing: Billing, someone: UUID) -> None:
    of = model(usd="10")
    mine = claim(someone, of=of)
    await billing.quota().reserve(mine)
    bill = ProviderBill(of, "reservation", 100, 0, 400, Usage(100, 400), 100, 400)
    async with billing.service.transaction() as session:
        booked = await book(session, charge(mine, 400, prompt=100))
        assert booked is not None
        assert await losses.record(session, booked, bill, to_webhook=False) is None
    assert (
        billing.sql("select 1 from private.usage_losses where reservation_id = %s", mine.request_id)
        == []
    )


@pytest.mark.parametrize(
    ("cap", "charged"),
    [
        (None, 500),
        ("0.005001", 500),
        ("0.005", 500),
        ("0.004999", 499),
        ("0.00001", 1),
        ("0.000009", 0),
        ("0", 0),
    ],
)
async def test_cap_bounds_what_is_invoiced_to_the_token(
    billing: Billing, someone: UUID, cap: str | None, charged: int
) -> None:
    """Of 500 tokens beyond what is included, at $10 per million, reserved before the cap was lowered."""
    mine = claim(someone, limit=0, overage=1_000_000, free=False)
    await billing.quota().reserve(mine)
    used = replace(
        charge(mine, 400, prompt=100, customer="cus_1"),
        overage_usd_per_million=Decimal(10),
        default_cap_usd=None if cap is None else Decimal(cap),
    )
    async with billing.service.transaction() as session:
        booked = await book(session, used)
    assert booked is not None
    usd = charged * Decimal(10) / 1_000_000
    assert (booked.quota_tokens, booked.overage_usd) == (500, usd)
    assert billing.sql(
        "select overage_tokens, overage_usd from usage_records where user_id = %s", someone
    ) == [(charged, usd)]
    sent = billing.sql("select tokens, micro_usd from usage_outbox where user_id = %s", someone)
    assert sent == ([(charged, charged * 10)] if charged else [])
