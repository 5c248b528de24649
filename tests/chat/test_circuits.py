"""A provider in trouble is asked last for a while, and never refused on that account."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aisaas.chat.circuits import FAILURES, MOST_SECONDS, NOT_THEIRS, OPEN_SECONDS, Circuits
from aisaas.errors import MODEL_GONE
from aisaas.language_models import Model
from tests.adapters.test_litellm_model import model_of

FIRST = model_of("openai")
SISTER = replace(FIRST, id="sister")
OTHER = model_of("anthropic")
CHAIN = (FIRST, OTHER)
TURNED = (OTHER, FIRST)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuits(clock: Clock) -> Circuits:
    return Circuits(clock)


def fail(
    circuits: Circuits, model: Model = FIRST, times: int = FAILURES, kind: str = "timeout"
) -> None:
    for _ in range(times):
        circuits.failed(model, kind)


def test_a_few_failures_in_a_row_open_it_for_all_of_its_models(circuits: Circuits) -> None:
    fail(circuits, times=FAILURES - 1)
    assert circuits.order(CHAIN) == CHAIN
    fail(circuits, times=1)
    assert circuits.order(CHAIN) == TURNED
    assert circuits.order((SISTER, OTHER)) == (OTHER, SISTER)


def test_a_success_in_between_begins_the_count_again(circuits: Circuits) -> None:
    for _ in range(5):
        fail(circuits, times=FAILURES - 1)
        circuits.succeeded(FIRST)
    assert circuits.order(CHAIN) == CHAIN


def test_one_call_tries_it_again_and_a_success_closes_it(circuits: Circuits, clock: Clock) -> None:
    fail(circuits)
    clock.now += OPEN_SECONDS - 1
    assert circuits.order(CHAIN) == TURNED
    clock.now += 1
    assert circuits.order(CHAIN) == CHAIN
    # The others wait for what comes of it.
    assert circuits.order(CHAIN) == TURNED
    circuits.succeeded(FIRST)
    assert circuits.order(CHAIN) == CHAIN
    assert not circuits.is_open(FIRST)


def test_a_failed_try_keeps_it_open_for_longer_up_to_a_bound(
    circuits: Circuits, clock: Clock
) -> None:
    fail(circuits)
    wait = OPEN_SECONDS
    for _ in range(8):
        clock.now += wait
        assert circuits.order(CHAIN) == CHAIN
        fail(circuits, times=1)
        wait = min(wait * 2, MOST_SECONDS)
        clock.now += wait - 1
        assert circuits.order(CHAIN) == TURNED
        clock.now += 1 - wait
    assert wait == MOST_SECONDS


def test_a_try_that_nobody_hears_of_is_made_again(circuits: Circuits, clock: Clock) -> None:
    fail(circuits)
    clock.now += OPEN_SECONDS
    assert circuits.order(CHAIN) == CHAIN
    clock.now += OPEN_SECONDS
    assert circuits.order(CHAIN) == CHAIN


def test_when_all_are_in_trouble_nothing_changes(circuits: Circuits) -> None:
    fail(circuits, FIRST)
    fail(circuits, OTHER)
    assert circuits.order(CHAIN) == CHAIN
    assert circuits.order((FIRST,)) == (FIRST,)


def test_a_model_that_is_gone_says_nothing_of_the_others(circuits: Circuits) -> None:
    fail(circuits, kind=MODEL_GONE)
    assert circuits.order(CHAIN) == TURNED
    assert circuits.order((SISTER, OTHER)) == (SISTER, OTHER)


@pytest.mark.parametrize("kind", sorted(NOT_THEIRS))
def test_what_is_not_the_providers_fault_opens_nothing(circuits: Circuits, kind: str) -> None:
    fail(circuits, times=10, kind=kind)
    assert circuits.order(CHAIN) == CHAIN
