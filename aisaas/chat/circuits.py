"""Circuits: a provider in trouble isn't tried first for a while, so that users don't wait for it.

After FAILURES failures in a row its circuit opens. While it is open, the other models of a call are asked
before its own. When OPEN_SECONDS are over, one call may try it again (half-open): a success closes the
circuit, a failure keeps it open for twice as long, up to MOST_SECONDS.

A circuit only changes the order. A call whose models are all in trouble tries them in the usual order,
so a mistaken circuit never refuses a user. State is per process, one entry per provider.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aisaas.billing.providers.health_store import CircuitState
from aisaas.errors import MODEL_GONE
from aisaas.language_models import Model

FAILURES = 3
OPEN_SECONDS = 30.0
MOST_SECONDS = 480.0
# The request's own fault, or ours: they say nothing about the provider.
NOT_THEIRS = frozenset(
    {"BadRequestError", "ContextWindowExceededError", "ContentPolicyViolationError", "overrun"}
    | {"UnprocessableEntityError", "UnsupportedParamsError", "adapter", "switched_off"}
)


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    seconds: float = OPEN_SECONDS
    # When it may be tried again; 0: it is closed.
    until: float = 0.0


class Circuits:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}

    def order(self, models: Sequence[Model]) -> tuple[Model, ...]:
        """Those to ask first, then those in trouble; each part in its own order."""
        fit = [model for model in models if self._may_try(model)]
        return (*fit, *(model for model in models if model not in fit))

    def succeeded(self, model: Model) -> None:
        self._circuits.pop(model.provider, None)
        self._circuits.pop(_own(model), None)

    def failed(self, model: Model, kind: str) -> None:
        if kind in NOT_THEIRS:
            return
        # A model that the provider doesn't have says nothing about its other models.
        name = _own(model) if kind == MODEL_GONE else model.provider
        circuit = self._circuits.setdefault(name, _Circuit())
        circuit.failures += 1
        if circuit.until:
            circuit.seconds = min(circuit.seconds * 2, MOST_SECONDS)
        if circuit.until or circuit.failures >= FAILURES:
            circuit.until = self._clock() + circuit.seconds

    def is_open(self, model: Model) -> bool:
        """Whether others are asked before it at this moment."""
        return any(
            circuit is not None and circuit.until > self._clock()
            for circuit in (self._circuits.get(model.provider), self._circuits.get(_own(model)))
        )

    def not_closed(self) -> Sequence[CircuitState]:
        """Open and half-open circuits, with the seconds until a call may try them."""
        now = self._clock()
        found: list[CircuitState] = []
        for name, circuit in self._circuits.items():
            if circuit.until:
                provider, _, model = name.partition("/")
                wait = max(circuit.until - now, 0.0)
                found.append(CircuitState(provider, model, circuit.failures, wait))
        return found

    def _may_try(self, model: Model) -> bool:
        if self.is_open(model):
            return False
        for name in (model.provider, _own(model)):
            circuit = self._circuits.get(name)
            if circuit is not None and circuit.until:
                # Half-open: this call tries it, and others wait for the result.
                circuit.until = self._clock() + circuit.seconds
        return True


def _own(model: Model) -> str:
    return f"{model.provider}/{model.id}"
