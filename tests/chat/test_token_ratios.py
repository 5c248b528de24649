"""What is reserved for a prompt follows what the model's provider counts."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisaas.chat import token_ratios
from aisaas.chat.prompt import SAFETY, Prompt
from aisaas.chat.token_ratios import (
    FIRST_RATIO,
    KEPT_AT_FIRST,
    KEPT_EVERY,
    LEAST,
    MOST,
    TokenRatio,
    TokenRatios,
    prompt_estimate,
    window,
)
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.errors import Unavailable
from aisaas.language_models import Model
from aisaas.prices import Price
from aisaas.wiring import Services
from tests.adapters.test_rubbish import event, usage
from tests.chat.test_untrusted_replies import DONE, finish, product
from tests.services import Build, Database, new_principal, whole

PROMPT = Prompt((), 1000, 1100, 0)


def model(name: str = "tests", size: int = 100_000) -> Model:
    nothing = Decimal(0)
    return Model(
        id=name,
        label=name,
        provider="openai",
        upstream=f"openai/{name}",
        context_window=size,
        max_output=1000,
        weight=Decimal(1),
        plans=frozenset({"free"}),
        fallback=None,
        price=Price(nothing, nothing, nothing, "tests"),
    )


def seen(highest: float, typical: float | None = None) -> dict[str, TokenRatio]:
    return {"tests": TokenRatio("tests", highest, typical or highest, 10)}


# What is reserved


def test_first_call_of_a_model_is_generous() -> None:
    assert prompt_estimate(PROMPT, [model()], {}) == math.ceil(1000 * FIRST_RATIO * SAFETY)


def test_model_that_counts_more_than_estimated_reserves_more() -> None:
    assert prompt_estimate(PROMPT, [model()], seen(2.0)) == 2200
    # Whichever of them may answer.
    cheap = model("cheap")
    ratios = seen(2.0) | {"cheap": TokenRatio("cheap", 1.0, 1.0, 10)}
    assert prompt_estimate(PROMPT, [cheap, model()], ratios) == 2200
    assert prompt_estimate(PROMPT, [cheap], ratios) == 1100


def test_estimate_is_never_below_the_one_that_knows_nothing_nor_above_the_window() -> None:
    assert prompt_estimate(PROMPT, [model()], seen(LEAST)) == 1100
    assert prompt_estimate(PROMPT, [model(size=1500)], seen(MOST)) == 1500
    assert prompt_estimate(PROMPT, [model(size=1000)], seen(MOST)) == 1100


@given(st.floats(LEAST, MOST), st.floats(LEAST, MOST))
def test_window_is_smaller_for_a_model_that_counts_more(highest: float, typical: float) -> None:
    held = window(model(), seen(highest, typical))
    assert held <= 100_000
    assert held * max(1.0, typical) <= 100_000
    assert window(model(), {}) == 100_000


# What is kept


def named() -> str:
    return f"model-{uuid4().hex}"


async def known(services: Services, name: str) -> TokenRatio | None:
    """As a process knows it that has just started."""
    return (await TokenRatios(services.admission.quota._service).current()).get(name)  # pyright: ignore[reportPrivateUsage]


def ratios(services: Services) -> TokenRatios:
    return TokenRatios(services.admission.quota._service)  # pyright: ignore[reportPrivateUsage]


async def test_ratio_rises_at_once_and_falls_slowly_and_survives_the_process(
    services: Services,
) -> None:
    name, mine = named(), ratios(services)
    await mine.learn(name, reported=1200, counted=1000)
    assert await known(services, name) == TokenRatio(name, 1.2, 1.2, 1)
    await mine.learn(name, reported=2000, counted=1000)
    found = await known(services, name)
    assert found is not None
    assert (found.highest, found.reports) == (2.0, 2)
    assert 1.2 < found.typical < 2.0
    assert (await mine.current())[name] == found
    for _ in range(10):
        await mine.learn(name, reported=1000, counted=1000)
    found = await known(services, name)
    assert found is not None
    assert 1.5 < found.highest < 1.7
    assert found.typical < 1.1


@pytest.mark.parametrize(
    ("reported", "believed"),
    [
        (3000, True),
        (3001, False),
        (5_000_000, False),
        (250, True),
        (249, False),
    ],
)
async def test_reports_that_no_tokenizer_explains_teach_nothing(
    services: Services, database: Database, reported: int, believed: bool
) -> None:
    name, mine = named(), ratios(services)
    await mine.learn(name, reported=reported, counted=1000)
    assert (await known(services, name) is not None) is believed
    assert database(
        "select reports, disbelieved from private.token_ratios where model = %s", name
    ) == [(1, 0) if believed else (0, 1)]
    await mine.learn(name, reported=1100, counted=1000)
    found = await known(services, name)
    assert found is not None
    assert found.highest <= MOST


@pytest.mark.parametrize(("reported", "counted"), [(0, 1000), (40, 0)])
async def test_nothing_is_learned_from_nothing(
    services: Services, database: Database, reported: int, counted: int
) -> None:
    name = named()
    await ratios(services).learn(name, reported=reported, counted=counted)
    assert not database("select 1 from private.token_ratios where model = %s", name)


async def test_reports_like_all_others_are_not_all_written_down(
    services: Services, database: Database
) -> None:
    name, mine = named(), ratios(services)
    for _ in range(KEPT_AT_FIRST + 3 * KEPT_EVERY):
        await mine.learn(name, reported=1100, counted=1000)
    stored = "select reports from private.token_ratios where model = %s"
    assert database(stored, name) == [(KEPT_AT_FIRST + 3,)]
    # One that says more than any before is.
    await mine.learn(name, reported=1101, counted=1000)
    assert database(stored, name) == [(KEPT_AT_FIRST + 4,)]


async def test_what_another_process_learned_is_known_soon(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, mine, other = named(), ratios(services), ratios(services)
    await other.current()
    await mine.learn(name, reported=1500, counted=1000)
    assert name not in await other.current()
    monkeypatch.setattr(token_ratios, "FRESH_SECONDS", 0.0)
    assert (await other.current())[name].highest == 1.5


async def test_without_the_database_nothing_is_estimated() -> None:
    nowhere = DatabasePool("postgresql://nobody:nothing@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        await TokenRatios(ServiceDatabase(nowhere)).current()
    # And what can't be noted ends no reply.
    await TokenRatios(ServiceDatabase(nowhere)).learn("demo", reported=10, counted=10)
    await nowhere.close()


# The whole way


@pytest.mark.usefixtures("patience")
async def test_model_that_counts_more_reserves_more_from_its_next_call_on(
    build_services: Build, tmp_path: Path, database: Database
) -> None:
    async with product(build_services, tmp_path) as (services, scripted):
        path = tmp_path / "catalogue.json"
        entries = json.loads(path.read_text())
        name = named()
        entries.append(
            next(e for e in entries if e["id"] == "small-window")
            | {"id": name, "context_window": 16000}
        )
        path.write_text(json.dumps(entries))
        async with build_services(
            model_catalogue=path,
            demo_api_base=services.settings.demo_api_base,
            max_reply_tokens=64,
        ) as again:
            ada = await new_principal(again)
            held: list[tuple[int, int]] = []
            for factor in (2.0, 2.0):
                counted = _counted(again, "hello")
                scripted.reply = [
                    event({"content": "Hello."}),
                    finish(),
                    usage(int(counted * factor), 2),
                    DONE,
                ]
                scripted.title = scripted.reply
                started = await again.chat.send(ada, "hello", conversation_id=None, model=name)
                await whole(again, ada, started)
                await again.chat.title_ready(ada, started.conversation_id)
                ((estimate, count),) = database(
                    "select prompt_estimate, prompt_count from reservations where message_id = %s",
                    started.reply.id,
                )
                held.append((int(str(estimate)), int(str(count))))
            (first, count), (second, _) = held
            assert first == math.ceil(count * FIRST_RATIO * SAFETY)
            assert second >= 2 * count > first


def _counted(services: Services, text: str) -> int:
    from aisaas.chat import prompt as prompts
    from aisaas.chat.ports import Turn

    count = services.model.count_tokens
    turns = [Turn("system", prompts.SYSTEM_TEXT, count(prompts.SYSTEM_TEXT))]
    return prompts.count([*turns, Turn("user", text, count(text))])
