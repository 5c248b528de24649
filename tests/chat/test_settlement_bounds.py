"""Whatever providers do: nobody is charged more than was reserved, no cap is exceeded, all the books agree,
and what was produced and isn't charged is written down as a loss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aisaas.callers import Caller
from aisaas.chat.models import Started
from aisaas.chat.reports import issues_of
from aisaas.chat.settle import Owed, Produced, Settler
from aisaas.chat.titles import TITLE_TOKENS
from aisaas.errors import Refusal
from aisaas.wiring import Services
from tests.scripted_provider import DONE, HANG, Answer, Part, ScriptedProvider, chunk, finish
from tests.scripted_provider import scripted_provider as scripted
from tests.services import Build, Database, new_member, recover

pytestmark = pytest.mark.usefixtures("patience")

INCLUDED, FREE_TOKENS = 3000, 2500
CAP, OVERAGE_USD = Decimal("0.02"), Decimal(10)
PAID_BEYOND = int(CAP / OVERAGE_USD * 1_000_000)


def _model(name: str, into: str, out: str, weight: str, **more: object) -> dict[str, object]:
    return {
        "id": name,
        "label": name,
        "provider": "demo",
        "upstream": f"openai/{name}",
        "context_window": 16000,
        "max_output": 4096,
        "weight": weight,
        "plans": ["free", "pro", "business"],
        "fallback": None,
        "price": {"input_usd": into, "output_usd": out},
    } | more


MODELS = [
    _model("cheap", "0.5", "2", "1"),
    _model("costly", "500", "2500", "3.5"),
    _model("thinker", "5", "25", "2", reasoning={"efforts": ["low", "high"], "by_default": True}),
    _model("falls", "5", "25", "1.5", fallback="cheap"),
]

Count = int | None
Act = Literal["read", "stop", "lose"]


@dataclass(frozen=True)
class Behaviour:
    """What a provider does in one call, and what happens to the call meanwhile."""

    thinking: tuple[str, ...]
    pieces: tuple[str, ...]
    # Prompt, completion, thinking, cached; None where no usage is sent.
    usage: tuple[Count, Count, Count, Count] | None
    reports: Literal["last", "each", "thrice"]
    finish: str | None
    silent: bool
    # Seconds before the first piece, and between pieces.
    pause: float
    act: Act
    # After how many seconds.
    after: float

    def answer(self) -> Answer:
        parts: list[Part] = [self.pause]
        for name, pieces in (("reasoning_content", self.thinking), ("content", self.pieces)):
            for piece in pieces:
                parts += [chunk({name: piece}), self.pause / 4]
                if self.reports == "each":
                    parts += self._usage()
        if self.finish is not None:
            parts.append(finish(self.finish))
            parts += self._usage() * (3 if self.reports == "thrice" else 1)
            parts.append(HANG if self.silent else DONE)
        return parts

    def _usage(self) -> list[Part]:
        if self.usage is None:
            return []
        prompt, completion, thinking, cached = self.usage
        counts: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": (prompt or 0) + (completion or 0),
        }
        if thinking is not None:
            counts["completion_tokens_details"] = {"reasoning_tokens": thinking}
        if cached is not None:
            counts["prompt_tokens_details"] = {"cached_tokens": cached}
        return [chunk({}, choices=[], usage=counts)]


PIECE = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40),
    st.integers(1, 900).map(lambda times: " word" * times),
    st.sampled_from(["", " ", "\x00", "😀" * 50, "日本語の文章" * 40]),
)
COUNT = st.one_of(
    st.none(), st.integers(0, 60), st.integers(0, 3000), st.sampled_from([5_000_000, 10**12, -7])
)
BEHAVIOUR = st.builds(
    Behaviour,
    thinking=st.lists(PIECE, max_size=3).map(tuple),
    pieces=st.lists(PIECE, max_size=6).map(tuple),
    usage=st.one_of(st.none(), st.tuples(COUNT, COUNT, COUNT, COUNT)),
    reports=st.sampled_from(["last", "each", "thrice"]),
    finish=st.sampled_from(["stop", "stop", "stop", "length", "content_filter", None]),
    silent=st.sampled_from([False, False, False, True]),
    pause=st.sampled_from([0.0, 0.0, 0.02, 0.1]),
    act=st.sampled_from(["read", "read", "read", "stop", "lose"]),
    after=st.sampled_from([0.0, 0.02, 0.1, 0.3]),
)
CALLS = st.lists(
    st.tuples(st.sampled_from([str(model["id"]) for model in MODELS]), BEHAVIOUR, BEHAVIOUR),
    min_size=1,
    max_size=3,
)


@dataclass
class Firewall:
    services: Services
    provider: ScriptedProvider
    replies: list[Behaviour]
    title: Behaviour | None = None
    # Each call that was booked, and what came of it.
    settled: list[tuple[Owed, Produced]] = field(default_factory=list[tuple[Owed, Produced]])

    def answer(self, request: dict[str, Any]) -> Answer:
        limit = request.get("max_tokens") or request["max_completion_tokens"]
        if limit <= TITLE_TOKENS and self.title is not None:
            return self.title.answer()
        if request["model"] == "falls":
            # Fails without a word, and another answers.
            return self.replies[0]._usage()  # pyright: ignore[reportPrivateUsage]
        return self.replies[int(request["messages"][-1]["content"].split()[-1])].answer()


@pytest.fixture(scope="module")
def catalogue_of_bounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bounds") / "catalogue.json"
    path.write_text(json.dumps(MODELS))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def firewall(build_services: Build, catalogue_of_bounds: Path) -> AsyncGenerator[Firewall]:
    async with (
        scripted([]) as provider,
        build_services(
            demo_api_base=f"{provider.url}/v1",
            model_catalogue=catalogue_of_bounds,
            default_model="cheap",
            run_jobs=False,
            max_reply_tokens=400,
            free_tokens_per_month=FREE_TOKENS,
            pro_tokens_per_month=INCLUDED,
            pro_overage_usd_per_million=OVERAGE_USD,
            pro_overage_cap_usd=CAP,
            token_gap_timeout_seconds=5,
        ) as services,
    ):
        made = Firewall(services, provider, [])
        provider.answer = made.answer
        settle_once = Settler.settle_once

        async def noted(settler: Settler, owed: Owed, produced: Produced) -> bool:
            settled = await settle_once(settler, owed, produced)
            if settled:
                made.settled.append((owed, produced))
            return settled

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Settler, "settle_once", noted)
            yield made


def _whole(usage: tuple[Count, Count, Count, Count], *pieces: str) -> Behaviour:
    return Behaviour((), pieces, usage, "last", "stop", False, 0.0, "read", 0.0)


def _cut(usage: tuple[Count, Count, Count, Count], *pieces: str) -> Behaviour:
    return replace(_whole(usage, *pieces), reports="each", finish=None)


QUIET = _whole((10, 2, None, None), "A title")


async def _customer(services: Services, database: Database, kind: str) -> Caller:
    member = await new_member(services)
    user_id = member.principal.user_id
    if kind == "paid":
        database(
            "update profiles set plan = 'pro', subscription_status = 'active',"
            " subscription_id = %s, stripe_customer_id = %s, period_start = now(),"
            " period_end = now() + interval '30 days' where id = %s",
            f"sub_{user_id.hex}",
            f"cus_{user_id.hex}",
            user_id,
        )
    if kind == "credits":
        database(
            "insert into credit_grants (user_id, tokens, reason, granted_by)"
            " values (%s, 1500, 'tests', 'tests')",
            user_id,
        )
    return await services.callers.resolve(member.cookie)


async def _play(
    firewall: Firewall, database: Database, ada: Caller, number: int, model: str, how: Behaviour
) -> Started | None:
    services = firewall.services
    try:
        started = await services.chat.send(
            ada, f"question {number}", conversation_id=None, model=model
        )
    except Refusal:
        return None
    running = services.running.get(started.reply.id)
    if running is not None and how.act != "read":
        await asyncio.sleep(how.after)
        if how.act == "stop":
            running.stop()
        else:
            running.mark_lease_lost()
    while services.running.get(started.reply.id) is not None:
        await asyncio.sleep(0.01)
    if how.act == "lose":
        # What other tests have left isn't due before it.
        due = (
            "update reservations set lease_expires_at = now() - interval '1 day'"
            " where message_id = %s and state = 'open' returning id"
        )
        while database(due, started.reply.id):
            await recover(services)
    await services.chat.title_ready(ada, started.conversation_id)
    return started


def _within_bounds(database: Database, user_id: UUID, most: int) -> None:
    beyond = database(
        "select u.id from usage_records u join reservations r on r.id = u.reservation_id"
        " where u.user_id = %s and (u.quota_tokens > r.tokens or u.cost_usd > r.cost_usd)",
        user_id,
    )
    assert beyond == []
    assert (
        database("select 1 from reservations where user_id = %s and state = 'open'", user_id) == []
    )
    ((ledger, credited, metered, beyond_usd, used, held, outbox, spent_credits),) = database(
        """
        select coalesce(sum(u.quota_tokens), 0), coalesce(sum(u.credit_tokens), 0),
          coalesce(sum(u.overage_tokens), 0),
          coalesce(sum(u.overage_usd), 0),
          (select coalesce(sum(used), 0) from quota_periods q where q.user_id = %s),
          (select coalesce(sum(reserved), 0) from quota_periods q where q.user_id = %s),
          (select coalesce(sum(tokens), 0) from usage_outbox o where o.user_id = %s),
          (select coalesce(sum(spent), 0) from credit_grants g where g.user_id = %s)
        from usage_records u where u.user_id = %s
        """,
        *[user_id] * 5,
    )
    assert (ledger, held, credited) == (used, 0, spent_credits)
    assert metered == outbox
    assert int(str(used)) <= most
    assert Decimal(str(beyond_usd)) <= CAP


def _usd(model: str, prompt: int, completion: int) -> Decimal:
    """To the digit that the ledger keeps: half up to a millionth."""
    price = next(each["price"] for each in MODELS if each["id"] == model)
    assert isinstance(price, dict)
    usd = prompt * Decimal(price["input_usd"]) + completion * Decimal(price["output_usd"])
    return (usd / 1_000_000).quantize(Decimal("0.000001"), ROUND_HALF_UP)


def _billed(firewall: Firewall, owed: Owed, produced: Produced) -> list[tuple[str, int, int]]:
    """What providers may bill for a call: each attempt's model, prompt tokens, and completion tokens.

    A report that can be true has all of it, if the reply is whole. Else more may have been produced than
    was reported, or reported than was produced, and the larger counts.
    """
    attempts = [
        (each.model.id, each.usage.prompt_tokens, each.usage.completion_tokens)
        for each in produced.failures
        if each.usage is not None
    ]
    nothing_came = not produced.text and not produced.thinking
    if produced.answered is None or not produced.started:
        return attempts
    count = firewall.services.model.count_tokens
    received = sum(
        count(text) for text in (produced.text, produced.thinking, produced.beyond) if text
    )
    usage = produced.usage
    if usage is None:
        if nothing_came and produced.outcome in {"failed", "interrupted"}:
            return attempts
        return [*attempts, (produced.answered.id, owed.prompt_count, received)]
    came = produced.text + produced.thinking + produced.beyond
    believed = produced.complete and not issues_of(
        usage,
        came,
        prompt_count=owed.prompt_count,
        thinking_granted=owed.max_tokens if _thinks(produced) else 0,
        complete=True,
    ) & {"completion_missing", "completion_excessive"}
    completion = usage.completion_tokens if believed else max(usage.completion_tokens, received)
    prompt = usage.prompt_tokens
    if not prompt and (came or usage.completion_tokens):
        prompt = owed.prompt_count
    return [*attempts, (produced.answered.id, prompt, completion)]


def _thinks(produced: Produced) -> bool:
    reported = produced.usage is not None and produced.usage.thinking_tokens > 0
    return reported or produced.thinks or produced.thinking_seconds is not None


def _losses_are_what_is_not_charged(firewall: Firewall, database: Database, user_id: UUID) -> None:
    """To the token, and to the digit."""
    settled = [each for each in firewall.settled if each[0].user_id == user_id]
    ((reservations,),) = database("select count(*) from reservations where user_id = %s", user_id)
    assert len(settled) == reservations
    for owed, produced in settled:
        lines = database(
            "select model, prompt_tokens, completion_tokens, cost_usd from usage_records"
            " where reservation_id = %s",
            owed.request_id,
        )
        charged_for, *charged = lines[0] if lines else ("", 0, 0, Decimal(0))
        expected: list[tuple[str, int, Decimal]] = []
        for model, prompt, completion in _billed(firewall, owed, produced):
            of_prompt, of_completion, cost = charged if model == charged_for else (0, 0, Decimal(0))
            tokens = max(prompt - int(str(of_prompt)), 0)
            tokens += max(completion - int(str(of_completion)), 0)
            if tokens:
                lost = max(_usd(model, prompt, completion) - Decimal(str(cost)), Decimal(0))
                expected.append((model, tokens, lost))
        found = database(
            "select model, lost_tokens, lost_usd from private.usage_losses where reservation_id = %s",
            owed.request_id,
        )
        assert sorted(found, key=str) == sorted(expected, key=str), (owed, produced, lines)


def _spent(database: Database) -> dict[str, Decimal]:
    return {
        str(scope): Decimal(str(usd))
        for scope, usd in database("select scope, sum(spent_usd) from spend_days group by scope")
    }


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Cut after a report of more than came; a believed completion beside a prompt that can't be; nobody answers.
@example(calls=[("costly", _cut((40, 60, None, None), "Hi there"), QUIET)], kind="paid")
@example(calls=[("costly", _whole((5_000_000, 1, None, None), " word" * 50), QUIET)], kind="paid")
@example(calls=[("falls", _cut((5_000_000, 60, None, None)), QUIET)], kind="paid")
@given(calls=CALLS, kind=st.sampled_from(["free", "credits", "paid"]))
async def test_nobody_is_charged_more_than_was_reserved(
    firewall: Firewall,
    database: Database,
    calls: list[tuple[str, Behaviour, Behaviour]],
    kind: str,
) -> None:
    services = firewall.services
    ada = await _customer(services, database, kind)
    firewall.replies = [behaviour for _, behaviour, _ in calls]
    firewall.title = calls[0][2]
    before = _spent(database)
    await asyncio.gather(
        *(
            _play(firewall, database, ada, number, model, how)
            for number, (model, how, _) in enumerate(calls)
        )
    )
    most = {"free": FREE_TOKENS, "credits": FREE_TOKENS + 1500, "paid": INCLUDED + PAID_BEYOND}
    _within_bounds(database, ada.user_id, most[kind])
    _losses_are_what_is_not_charged(firewall, database, ada.user_id)
    ((cost,),) = database(
        "select coalesce(sum(cost_usd), 0) from usage_records where user_id = %s", ada.user_id
    )
    after = _spent(database)
    for scope in ("total",) if kind == "paid" else ("total", "free"):
        assert after.get(scope, Decimal(0)) - before.get(scope, Decimal(0)) == cost
