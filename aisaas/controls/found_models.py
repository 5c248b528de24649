"""Models that providers list for our keys, and those that an admin puts on sale.

A provider is queried when an admin requests it, and never while a transaction is open. An added
model must meet the rules of the catalogue file, costs LiteLLM's price or the admin's, and applies
to the next call in every process, like any change of a model (see model_overrides.py).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aisaas.accounts.admin_access import Actor, admin_read, admin_write
from aisaas.accounts.models import Principal
from aisaas.billing.plans.terms import Plan
from aisaas.controls import store as controls_store
from aisaas.controls.lineup import Lineup, ListedModel, ModelSource, UnfitModelError
from aisaas.controls.model_overrides import (
    KEEP,
    ModelChange,
    OwnPrice,
    as_audited,
    check_each_plan_has_a_model,
    check_plans,
    check_price,
    offer_of,
    offers_of,
    override_row,
)
from aisaas.controls.models import AddedModel
from aisaas.controls.ports import Discovery, FoundModel
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid

MOST_SHOWN = 50
# The longest model id that a browser may send.
LONGEST_ID = 120
LONGEST_LABEL = 80
SMALLEST_WINDOW = 256
MOST_TOKENS = 100_000_000
# A name as providers have them.
NAME = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Provider:
    """A configured provider; `prefix` begins LiteLLM's names of its models."""

    id: str
    label: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Found:
    """A model in a provider's list; `listed` is the model that we have of it."""

    model: FoundModel
    listed: ListedModel | None


@dataclass(frozen=True, slots=True)
class FoundList:
    """The first of the models that fit, or a sentence about why there are none."""

    models: tuple[Found, ...]
    fitting: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class NewModel:
    """What to add. Without a price it costs what LiteLLM's map says."""

    provider: str
    upstream: str
    label: str
    context_window: int
    max_output: int
    plans: frozenset[str]
    price: OwnPrice | None
    fallback: str | None


class FoundModels:
    """Args: the source of the models, the plans by id, the configured providers, and the function
    that queries one of them by its id, bounded in time and size."""

    def __init__(
        self,
        database: ServiceDatabase,
        source: ModelSource,
        plans: Mapping[str, Plan],
        providers: Sequence[Provider],
        ask: Callable[[str], Awaitable[Discovery]],
    ) -> None:
        self._database = database
        self._source = source
        self._plans = plans
        self._providers = {each.id: each for each in providers}
        self._ask = ask
        self._asking: set[str] = set()

    @property
    def providers(self) -> Sequence[Provider]:
        return tuple(self._providers.values())

    async def find(self, reader: Principal, provider: str, words: str) -> FoundList:
        """Ask a provider for its models; those whose name has `words` in it.

        Raises:
            ActionInvalid: no such provider, or it is being asked already.
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        async with admin_read(self._database, reader) as session:
            lineup = await self._source.read(session)
        asked = self._provider(provider)
        if provider in self._asking:
            raise ActionInvalid(f"{asked.label} is being asked already. Wait for its answer.")
        self._asking.add(provider)
        try:
            answer = await self._ask(provider)
        finally:
            self._asking.discard(provider)
        if answer.problem is not None:
            return FoundList((), 0, f"{asked.label} {answer.problem}.")
        fitting = [each for each in answer.models if words.lower() in each.upstream.lower()]
        found = (Found(each, _listed(lineup, each)) for each in fitting[:MOST_SHOWN])
        return FoundList(tuple(found), len(fitting), None)

    async def add(self, wanted: NewModel, *, actor: Actor, reason: str) -> str:
        """Put a model on sale; returns its id.

        Raises:
            ActionInvalid: it exists already, has no price, or can't be sold like that; or the
            reason is missing.
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        self._check(wanted)
        async with admin_write(self._database, actor, reason) as act:
            # One change after the other, as for all changes of models.
            await controls_store.lock_model_overrides(act.session)
            lineup = await self._source.read(act.session)
            if wanted.fallback is not None and wanted.fallback not in {
                line.id for line in lineup.present
            }:
                raise ActionInvalid("Choose a fallback from the list.")
            row = AddedModel(
                model=_new_id(lineup, wanted),
                label=wanted.label,
                provider=wanted.provider,
                upstream=wanted.upstream,
                context_window=wanted.context_window,
                max_output=wanted.max_output,
                plans=sorted(wanted.plans),
                fallback=wanted.fallback,
                added_at=datetime.now(UTC),
                added_by=act.actor,
            )
            try:
                line = self._source.line(row)
            except UnfitModelError as error:
                raise ActionInvalid(f"{wanted.upstream} can't be added: {error}.") from error
            own = await override_row(act, line, None, _change(wanted))
            offer = offer_of(line, own)
            if offer.price is None:
                raise ActionInvalid(
                    f"LiteLLM has no price for {wanted.upstream}. Enter what the provider charges."
                )
            await controls_store.put_added_model(act.session, row)
            await controls_store.put_model_override(act.session, own)
            terms = {"upstream": row.upstream, "context_window": row.context_window}
            after = terms | {"max_output": row.max_output} | as_audited(offer)
            await act.note("model.add", f"model:{row.model}", before=None, after=after)
        return row.model

    async def remove(self, model_id: str, *, actor: Actor, reason: str) -> None:
        """Undo `add`. Running replies finish; conversations of the model say that it is retired.

        Raises:
            ActionInvalid: no admin added such a model, or a plan would be without one; or there is no
                reason.
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        async with admin_write(self._database, actor, reason) as act:
            await controls_store.lock_model_overrides(act.session)
            lineup = await self._source.read(act.session)
            added = {
                row.model
                for row in await controls_store.added_models(act.session)
                if not row.removed_at
            }
            if model_id not in added:
                raise ActionInvalid(f"No added model is called {model_id!r}.")
            line = next(
                (each for each in lineup.present if each.id == model_id and each.added), None
            )
            await controls_store.remove_added_model(act.session, model_id)
            before = None
            # Else it isn't sold, and an override with its ID belongs to a model of the file.
            if line is not None:
                rest = offers_of(
                    [each for each in lineup.present if each is not line], lineup.words
                )
                check_each_plan_has_a_model(rest.values(), self._plans.values())
                before = as_audited(offer_of(line, lineup.words.get(model_id)))
                blank = await override_row(act, line, None, ModelChange())
                await controls_store.put_model_override(act.session, blank)
            await act.note("model.remove", f"model:{model_id}", before=before, after=None)

    def _check(self, wanted: NewModel) -> None:
        provider = self._provider(wanted.provider)
        prefix, _, name = wanted.upstream.partition("/")
        if prefix != provider.prefix or not NAME.fullmatch(name):
            raise ActionInvalid(f"{provider.label} has no model with that name.")
        if not 1 <= len(wanted.label) <= LONGEST_LABEL or not wanted.label.isprintable():
            raise ActionInvalid(f"Enter a name of 1 to {LONGEST_LABEL} characters.")
        if not SMALLEST_WINDOW <= wanted.context_window <= MOST_TOKENS:
            raise ActionInvalid(
                f"A context window has {SMALLEST_WINDOW} to {MOST_TOKENS:,} tokens."
            )
        if not 1 <= wanted.max_output <= wanted.context_window:
            raise ActionInvalid("The output limit must be from 1 to the context window.")
        check_plans(wanted.plans, self._plans)
        if wanted.price is not None:
            check_price(wanted.price)

    def _provider(self, provider: str) -> Provider:
        found = self._providers.get(provider)
        if found is None:
            raise ActionInvalid("That provider isn't configured.")
        return found


def _change(wanted: NewModel) -> ModelChange:
    return ModelChange(price=KEEP if wanted.price is None else wanted.price)


def _listed(lineup: Lineup, found: FoundModel) -> ListedModel | None:
    of = (found.provider, found.upstream)
    return next((line for line in lineup.present if (line.provider, line.upstream) == of), None)


def _new_id(lineup: Lineup, wanted: NewModel) -> str:
    """Its name at the provider; with the provider's id where another model has that name. A model that
    was removed gets its id back."""
    of = (wanted.provider, wanted.upstream)
    for line in lineup.lines:
        if (line.provider, line.upstream) == of:
            if not line.removed:
                raise ActionInvalid(f"{wanted.upstream} is in the list already, as {line.label}.")
            return line.id
    name = wanted.upstream.partition("/")[2]
    taken = {line.id for line in lineup.lines} | {each.id for each in lineup.left_out}
    for candidate in (name, f"{wanted.provider}/{name}"):
        if candidate not in taken and len(candidate) <= LONGEST_ID:
            return candidate
    raise ActionInvalid("Another model has this name, or the name is too long.")
