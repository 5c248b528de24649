"""Replies whose process is gone: settled from the log, exactly once.

Claiming renews the lease for the claimer, so several processes share the work, and one that dies
here leaves it to the next. What was produced is charged; what was shown is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from uuid import UUID

from aisaas.billing import store as billing_store
from aisaas.billing.store import Abandoned
from aisaas.chat import store
from aisaas.chat.catalogue import Catalogue
from aisaas.chat.settle import Owed, Produced, Settler
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError
from aisaas.observe import context
from aisaas.ports import LoggedReply, Model, Price, ReplyLog

log = logging.getLogger(__name__)

BATCH = 20
# A reply that streams without a reservation this long after its start belongs to nobody.
ORPHAN_SECONDS = 120
PURGE_AFTER_SECONDS = 24 * 3600


class Recovery:
    def __init__(
        self,
        service: ServiceDatabase,
        reply_log: ReplyLog,
        catalogue: Catalogue,
        settler: Settler,
        *,
        running_here: Callable[[UUID], bool],
    ) -> None:
        self._service = service
        self._log = reply_log
        self._catalogue = catalogue
        self._settler = settler
        self._running_here = running_here

    async def run_once(self) -> int:
        """Settle what was abandoned; how many reservations were closed.

        Raises:
            DependencyError: the database or the log is away. What is not settled now is later:
                without the log, nobody can tell what was shown, so nothing is closed.
        """
        async with self._service.transaction() as session:
            abandoned = await billing_store.claim_abandoned(session, BATCH)
        settled = 0
        for item in abandoned:
            if item.message_id is not None and self._running_here(item.message_id):
                # This process still has it: it was only late to renew.
                continue
            with context.entered(user=item.user_id, reply=item.message_id):
                settled += await self._settle(item)
        async with self._service.transaction() as session:
            orphans = await store.end_orphans(session, ORPHAN_SECONDS)
        if settled or orphans:
            log.warning("recovered %d reservations, %d replies without one", settled, orphans)
        return settled

    async def purge_deleted(self) -> int:
        """Remove for good what users deleted a while ago."""
        async with self._service.transaction() as session:
            return await store.purge_deleted(session, PURGE_AFTER_SECONDS)

    async def _settle(self, item: Abandoned) -> bool:
        held = _as_held(item)
        asked = held.get(item.model) or self._catalogue.get(item.model) or _retired(item)
        logged = await self._log.read(item.message_id) if item.message_id is not None else None
        owed = Owed(
            request_id=item.request_id,
            user_id=item.user_id,
            conversation_id=item.conversation_id,
            message_id=item.message_id,
            purpose=item.purpose,
            plan=item.plan,
            asked=asked,
            prompt_count=item.prompt_count,
            metered_customer=item.metered_customer,
        )
        if not await self._settler.settle_once(owed, self._produced(logged, asked, held)):
            return False
        if item.message_id is not None:
            try:
                await self._log.close(item.message_id)
            except DependencyError:
                log.warning("log of reply %s left to expire", item.message_id)
        return True

    def _produced(
        self, logged: LoggedReply | None, asked: Model, held: Mapping[str, Model]
    ) -> Produced:
        text = logged.text if logged is not None else ""
        answering = logged.model if logged is not None else None
        answered: Model | None = None
        if answering is not None:
            answered = held.get(answering) or self._catalogue.get(answering)
        return Produced(
            outcome="interrupted",
            text=text,
            answered=answered or (asked if text else None),
            usage=logged.usage if logged is not None else None,
            # The process may have died between the provider's last word and the settling; without
            # knowing, its prompt count is used and the text is counted.
            complete=False,
            started=True,
            error_code="process_lost",
        )


def _as_held(item: Abandoned) -> dict[str, Model]:
    """The models of the call, by id, at the weights and prices that it was reserved with."""
    return {
        held["id"]: _settled_at(
            held["id"],
            held["provider"],
            Decimal(held["weight"]),
            Price(
                Decimal(held["input_usd"]),
                Decimal(held["output_usd"]),
                Decimal(held["cached_input_usd"]),
                held["version"],
            ),
        )
        for held in item.models or ()
    }


def _settled_at(model_id: str, provider: str, weight: Decimal, price: Price) -> Model:
    """A model that is only booked, not called."""
    return Model(
        id=model_id,
        label=model_id,
        provider=provider,
        upstream=model_id,
        context_window=0,
        max_output=0,
        weight=weight,
        plans=frozenset(),
        fallback=None,
        price=price,
    )


def _retired(item: Abandoned) -> Model:
    """A model that left the catalogue between the call and now, and took its price along.

    Its tokens are booked and counted by the weight they were reserved with; the ledger says
    `unknown` for the price, and the log asks for an operator.
    """
    log.error("call %s was to %s, which has no price any more", item.request_id, item.model)
    nothing = Decimal(0)
    price = Price(nothing, nothing, nothing, version="unknown")
    return _settled_at(item.model, "unknown", item.weight, price)
