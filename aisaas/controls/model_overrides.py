"""The models on sale: the catalogue with the admins' overrides (on or off, the plans, the weight,
the price, whether it is retired), and the resulting margin on each plan.

A change is a row with the next revision number. Every reservation names the revision its caller
knows, and the database refuses outdated ones (see chat/live_catalogue.py): so the next call in any
process applies the change without a restart. Invariants: a model without a price isn't on; every
plan has a model for new conversations.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from aisaas.accounts.admin_access import Act, Actor, admin_write, require_admin
from aisaas.accounts.models import Principal
from aisaas.billing.plans.terms import MILLION, Plan
from aisaas.controls import store as controls_store
from aisaas.controls.lineup import LeftOut, Lineup, ListedModel, ModelSource
from aisaas.controls.models import ModelOverride
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, Unavailable
from aisaas.prices import Price, usual_usd, weight_of

T = TypeVar("T")

# The cost of a call of the longest context must fit the ledger.
MOST_USD_PER_MILLION = Decimal(10_000)
MOST_WEIGHT = Decimal(10_000)
SMALLEST_USD = Decimal("0.000001")
SMALLEST_WEIGHT = Decimal("0.0001")


class Keep(enum.Enum):
    """As it is now; None would be: as the catalogue has it."""

    KEEP = "keep"


KEEP = Keep.KEEP
# An override's fields: whether on, plans, weight, the price, whether retired, and the successor.
NOTHING_SAID = (None,) * 6


@dataclass(frozen=True, slots=True)
class OwnPrice:
    """USD per million tokens, as an admin sets it."""

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What to change; None goes back to the catalogue's."""

    enabled: bool | Keep | None = KEEP
    plans: frozenset[str] | Keep | None = KEEP
    weight: Decimal | Keep | None = KEEP
    price: OwnPrice | Keep | None = KEEP
    retired: bool | Keep | None = KEEP
    # The model that conversations of a retired one are offered, or None. Set together with `retired`.
    successor: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as it is sold. `own` is the admin's override, if any."""

    listed: ListedModel
    own: ModelOverride | None
    enabled: bool
    plans: frozenset[str]
    weight: Decimal
    price: Price | None
    retired: bool
    successor: str | None

    @property
    def on(self) -> bool:
        return self.enabled and self.price is not None

    @property
    def for_new(self) -> bool:
        """Whether a new conversation can start with it."""
        return self.on and not self.retired


@dataclass(frozen=True, slots=True)
class Margin:
    """A plan's margin when this model is used, in USD per million of the model's tokens.

    `included_usd` is the plan's price per million if the whole allowance goes to this model, None
    where the plan is free; `overage_usd` is the price beyond it. `whole_usd` is the cost of a month
    in which the whole allowance goes to it.
    """

    plan: str
    cost_usd: Decimal
    included_usd: Decimal | None
    overage_usd: Decimal | None
    whole_usd: Decimal

    @property
    def included(self) -> Decimal | None:
        """As a share of the price; below 0 the model costs more than it earns."""
        return _share(self.included_usd, self.cost_usd)

    @property
    def overage(self) -> Decimal | None:
        return _share(self.overage_usd, self.cost_usd)


@dataclass(frozen=True, slots=True)
class OfferDetails:
    """`margins` are for the plans it is sold on, in their order; none without a price."""

    offer: Offer
    margins: tuple[Margin, ...]
    changed_at: datetime | None
    changed_by: str | None


def offer_of(listed: ListedModel, own: ModelOverride | None) -> Offer:
    if own is None:
        return Offer(
            listed=listed,
            own=None,
            enabled=listed.enabled,
            plans=listed.plans,
            weight=listed.weight,
            price=listed.price,
            retired=listed.retired,
            successor=listed.successor,
        )
    return Offer(
        listed=listed,
        own=own,
        enabled=listed.enabled if own.enabled is None else own.enabled,
        plans=listed.plans if own.plans is None else frozenset(own.plans),
        weight=_weight(listed, own),
        price=_own_price(own) or listed.price,
        retired=listed.retired if own.retired is None else own.retired,
        successor=listed.successor if own.retired is None else own.successor,
    )


def _weight(listed: ListedModel, own: ModelOverride) -> Decimal:
    if own.weight is not None:
        return own.weight
    price = _own_price(own)
    return weight_of(price) if price and listed.weight_follows_price else listed.weight


def offers_of(
    listed: Iterable[ListedModel], words: Mapping[str, ModelOverride]
) -> dict[str, Offer]:
    """By id, in the catalogue's order."""
    return {line.id: offer_of(line, words.get(line.id)) for line in listed}


def margin(offer: Offer, plan: Plan) -> Margin | None:
    """None without a price."""
    if offer.price is None:
        return None
    price, weight = offer.price, offer.weight
    cost = usual_usd(price)
    included = Decimal(plan.tokens_per_month)
    paid = plan.price
    return Margin(
        plan=plan.id,
        cost_usd=cost,
        included_usd=paid.base_usd / included * MILLION * weight if paid and included else None,
        overage_usd=paid.overage_usd_per_million * weight if paid else None,
        whole_usd=included / weight * cost / MILLION,
    )


def check_each_plan_has_a_model(offers: Iterable[Offer], plans: Iterable[Plan]) -> None:
    """Raises ActionInvalid where nothing would be left."""
    for_new = [offer for offer in offers if offer.for_new]
    for plan in plans:
        if not any(plan.id in offer.plans for offer in for_new):
            raise ActionInvalid(
                f"The {plan.label} plan needs at least one model. To stop all calls, use the kill "
                "switch."
            )


def check_price(price: OwnPrice) -> None:
    """Raises ActionInvalid."""
    for usd in (price.input_usd, price.output_usd, price.cached_input_usd):
        _check_amount("A price", usd, SMALLEST_USD, MOST_USD_PER_MILLION)


def check_plans(chosen: frozenset[str], plans: Mapping[str, Plan]) -> None:
    """Raises ActionInvalid."""
    if chosen - plans.keys() or not chosen:
        raise ActionInvalid(f"Choose at least one plan for the model: {', '.join(plans)}.")


class ModelOffers:
    """Args: the source of the models, and the plans by id."""

    def __init__(
        self, database: ServiceDatabase, source: ModelSource, plans: Mapping[str, Plan]
    ) -> None:
        self._database = database
        self._source = source
        self._plans = plans

    async def seen_by(self, principal: Principal) -> Sequence[OfferDetails]:
        """All of them, for an admin.

        Raises:
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        require_admin(principal)
        try:
            return await self.all()
        except DependencyError as error:
            raise Unavailable from error

    async def all(self) -> Sequence[OfferDetails]:
        """The same for an operator with database access. Raises DependencyError without it."""
        async with self._database.transaction() as session:
            lineup = await self._source.read(session)
        offers = offers_of(lineup.present, lineup.words).values()
        return [self._shown(offer) for offer in offers]

    async def left_out(self, principal: Principal) -> Sequence[LeftOut]:
        """Added models that can't be sold. Raises as `seen_by`."""
        require_admin(principal)
        try:
            async with self._database.transaction() as session:
                return (await self._source.read(session)).left_out
        except DependencyError as error:
            raise Unavailable from error

    async def change(
        self, model_id: str, wanted: ModelChange, *, actor: Actor, reason: str
    ) -> bool:
        """False when it is like that already.

        Raises:
            ActionInvalid: no such model, nothing it can be, or there is no reason.
            NotFound: no admin.
            Unavailable: the database does not answer.
        """
        self._check(wanted)
        async with admin_write(self._database, actor, reason) as act:
            # One change at a time: the models left on each plan depend on all changes.
            await controls_store.lock_model_overrides(act.session)
            lineup = await self._source.read(act.session)
            listed = _find(lineup, model_id)
            own = lineup.words.get(model_id)
            before = offer_of(listed, own)
            row = await override_row(act, listed, own, wanted)
            after = offer_of(listed, row)
            if _said(row) == (_said(own) if own else NOTHING_SAID):
                return False
            self._check_result(after, lineup, row)
            await controls_store.put_model_override(act.session, row)
            await act.note(
                _action(before, after),
                f"model:{model_id}",
                before=as_audited(before),
                after=as_audited(after),
            )
        return True

    def _check(self, wanted: ModelChange) -> None:
        if isinstance(wanted.plans, frozenset):
            check_plans(wanted.plans, self._plans)
        if isinstance(wanted.weight, Decimal):
            _check_amount("A weight", wanted.weight, SMALLEST_WEIGHT, MOST_WEIGHT)
            if wanted.weight <= 0:
                raise ActionInvalid("The weight must be more than 0.")
        if isinstance(wanted.price, OwnPrice):
            check_price(wanted.price)

    def _check_result(self, after: Offer, lineup: Lineup, row: ModelOverride) -> None:
        if after.enabled and after.price is None:
            raise ActionInvalid(
                f"{after.listed.label} has no price, so it can't be available. Set a price first."
            )
        offers = offers_of(lineup.present, {**lineup.words, row.model: row})
        check_each_plan_has_a_model(offers.values(), self._plans.values())
        if after.retired and row.successor is not None:
            successor = offers.get(row.successor)
            if successor is None or not successor.for_new:
                raise ActionInvalid("Choose a successor that is on and isn't retired.")

    def _shown(self, offer: Offer) -> OfferDetails:
        on_sale = [plan for plan in self._plans.values() if plan.id in offer.plans]
        found = [margin(offer, plan) for plan in on_sale]
        return OfferDetails(
            offer=offer,
            margins=tuple(each for each in found if each is not None),
            changed_at=offer.own.changed_at if offer.own else None,
            changed_by=offer.own.changed_by if offer.own else None,
        )


def _find(lineup: Lineup, model_id: str) -> ListedModel:
    found = next((line for line in lineup.present if line.id == model_id), None)
    if found is None:
        names = ", ".join(line.id for line in lineup.present)
        raise ActionInvalid(f"No model is called {model_id!r}. Models: {names}.")
    return found


def _action(before: Offer, after: Offer) -> str:
    if before.retired == after.retired:
        return "model.change"
    return "model.retire" if after.retired else "model.restore"


async def override_row(
    act: Act, listed: ListedModel, own: ModelOverride | None, wanted: ModelChange
) -> ModelOverride:
    """The row as it is to be, with the next number."""
    revision, now = await controls_store.next_model_revision(act.session)
    row = ModelOverride(
        model=listed.id,
        enabled=_kept(wanted.enabled, own.enabled if own else None),
        plans=own.plans if own else None,
        weight=_kept(wanted.weight, own.weight if own else None),
        changed_at=now,
        changed_by=act.actor,
        revision=revision,
        retired=_kept(wanted.retired, own.retired if own else None),
        successor=_kept(
            KEEP if wanted.retired is KEEP else wanted.successor, own.successor if own else None
        ),
    )
    if wanted.plans is not KEEP:
        row.plans = None if wanted.plans is None else sorted(wanted.plans)
    price = _own_price(own) if wanted.price is KEEP and own is not None else None
    if isinstance(wanted.price, OwnPrice):
        price = _set_price(wanted.price, listed, version=f"admin-{revision}")
        before = _own_price(own) if own is not None else None
        if before is not None and price.costs_as(before):
            price = before
    if price is not None:
        row.input_usd, row.output_usd = price.input_usd, price.output_usd
        row.cached_input_usd = price.cached_input_usd
        row.price_version, row.price = price.version, price.to_dict()
    return _without_the_catalogues(row, listed)


def _set_price(own: OwnPrice, listed: ListedModel, *, version: str) -> Price:
    flat = Price(own.input_usd, own.output_usd, own.cached_input_usd, version)
    if listed.price is None:
        return flat
    price = listed.price.rescaled(
        input_usd=own.input_usd,
        output_usd=own.output_usd,
        cached_input_usd=own.cached_input_usd,
        version=version,
    )
    if price.highest > MOST_USD_PER_MILLION:
        raise ActionInvalid(
            f"At this price, long prompts or cache writes would cost more than "
            f"{MOST_USD_PER_MILLION:,} per 1M tokens. Enter a lower price."
        )
    return price


def _without_the_catalogues(row: ModelOverride, listed: ListedModel) -> ModelOverride:
    """A value equal to the catalog's is no override: it keeps following the catalog."""
    if row.enabled == listed.enabled:
        row.enabled = None
    if row.plans is not None and frozenset(row.plans) == listed.plans:
        row.plans = None
    if not row.retired:
        row.successor = None
    if row.retired == listed.retired and row.successor == (
        listed.successor if row.retired else None
    ):
        row.retired = row.successor = None
    price, own = listed.price, _own_price(row)
    if price and own and own.costs_as(price):
        row.input_usd = row.output_usd = row.cached_input_usd = row.price_version = None
        row.price = None
    own = _own_price(row)
    follows = listed.weight_follows_price and own is not None
    if row.weight == (weight_of(own) if follows and own else listed.weight):
        row.weight = None
    return row


def _kept(wanted: T | Keep, now: T) -> T:
    return now if isinstance(wanted, Keep) else wanted


def _own_price(own: ModelOverride) -> Price | None:
    if own.input_usd is None or own.output_usd is None or own.cached_input_usd is None:
        return None
    # The release before writes the columns only.
    if own.price is not None and own.price.get("version") == own.price_version:
        return Price.from_dict(own.price)
    return Price(own.input_usd, own.output_usd, own.cached_input_usd, own.price_version or "admin")


def _said(own: ModelOverride) -> tuple[object, ...]:
    price = _own_price(own)
    priced = price.digest if price else None
    return own.enabled, own.plans, own.weight, priced, own.retired, own.successor


def as_audited(offer: Offer) -> dict[str, object]:
    """For the audit log: as it is sold."""
    price = offer.price
    retired: dict[str, object] = {"retired": True, "successor": offer.successor}
    return (retired if offer.retired else {}) | {
        "on": offer.on,
        "plans": ", ".join(sorted(offer.plans)),
        "weight": f"{offer.weight.normalize():f}",
        "input_usd": f"{price.input_usd.normalize():f}" if price else None,
        "output_usd": f"{price.output_usd.normalize():f}" if price else None,
        "cached_input_usd": f"{price.cached_input_usd.normalize():f}" if price else None,
        "price": price.version if price else None,
    }


def _check_amount(what: str, amount: Decimal, smallest: Decimal, most: Decimal) -> None:
    if not amount.is_finite() or not 0 <= amount <= most:
        raise ActionInvalid(f"{what} must be from 0 to {most:,}.")
    if amount != amount.quantize(smallest):
        places = -int(smallest.as_tuple().exponent)
        raise ActionInvalid(f"{what} can have at most {places} decimal places.")


def _share(paid: Decimal | None, cost: Decimal) -> Decimal | None:
    return None if not paid else (paid - cost) / paid
