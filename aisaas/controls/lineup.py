"""All models: those of the catalogue file, then those that admins added.

An added model that can't be sold is left out, logged and shown to admins; the others stay on. A
removed model's name is kept for the conversations and receipts that use it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.controls import store as controls_store
from aisaas.controls.models import AddedModel, ModelOverride
from aisaas.language_models import NO_REASONING, Ability, Reasoning
from aisaas.prices import Price

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A line of the catalogue. `price` is None when it isn't known; then the model is off."""

    id: str
    label: str
    provider: str
    upstream: str
    context_window: int
    max_output: int
    weight: Decimal
    plans: frozenset[str]
    fallback: str | None
    price: Price | None
    enabled: bool
    reasoning: Reasoning = NO_REASONING
    map_name: str | None = None
    abilities: frozenset[Ability] = frozenset()
    # The models that may answer in its place, in order.
    fallbacks: tuple[str, ...] = ()
    retired: bool = False
    successor: str | None = None
    # The weight follows from the price, also when an admin sets the price.
    weight_follows_price: bool = False
    # By an admin, not by the file.
    added: bool = False
    removed: bool = False


class UnfitModelError(ValueError):
    """Why a model can't be sold: a sentence's end, for admins."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An added model that isn't sold, and why: a sentence's end."""

    id: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lineup:
    """All models and the admins' words over them, as of one moment."""

    lines: tuple[ListedModel, ...]
    words: Mapping[str, ModelOverride]
    left_out: tuple[LeftOut, ...]

    @property
    def revision(self) -> int:
        """The number of the newest change."""
        return max((word.revision for word in self.words.values()), default=0)

    @property
    def present(self) -> Sequence[ListedModel]:
        """Without the removed ones."""
        return [line for line in self.lines if not line.removed]


class ModelSource:
    """Args: the catalogue file's lines in their order, and what makes a line of an added model; it raises
    UnfitModelError."""

    def __init__(
        self, listed: Sequence[ListedModel], line_of: Callable[[AddedModel], ListedModel]
    ) -> None:
        self._listed = tuple(listed)
        self._line_of = line_of
        self._logged: frozenset[LeftOut] = frozenset()

    async def read(self, session: AsyncSession) -> Lineup:
        # In this order: a change that commits in between has a higher number than the one read
        # here.
        words = await controls_store.model_overrides(session)
        lines = list(self._listed)
        left_out: list[LeftOut] = []
        unpriced: list[LeftOut] = []
        taken = {line.id for line in lines}
        for row in await controls_store.added_models(session):
            if row.model in taken:
                if row.removed_at is None:
                    reason = "the catalog file has a model with this ID"
                    left_out.append(_left_out(row, reason))
                continue
            try:
                line = self.line(row)
            except UnfitModelError as error:
                if row.removed_at is None:
                    left_out.append(_left_out(row, str(error)))
                continue
            lines.append(line)
            own = words.get(line.id)
            if line.price is None and not line.removed and (own is None or own.input_usd is None):
                # Among the others it is shown as off; an admin can set a price.
                unpriced.append(_left_out(row, "no price is known for it"))
        self._log([*left_out, *unpriced])
        return Lineup(tuple(lines), words, tuple(left_out))

    def line(self, row: AddedModel) -> ListedModel:
        """An added model as a line of the catalogue.

        Raises:
            UnfitModelError: it can't be sold.
        """
        line = replace(self._line_of(row), added=True)
        if row.removed_at is not None:
            return replace(line, removed=True, enabled=False, retired=True)
        return line

    def _log(self, left_out: Sequence[LeftOut]) -> None:
        """Each once, for it is read often."""
        for each in left_out:
            if each not in self._logged:
                log.warning("the added model %s is left out: %s", each.id, each.reason)
        self._logged = frozenset(left_out)


def _left_out(row: AddedModel, reason: str) -> LeftOut:
    return LeftOut(row.model, row.label, reason)
