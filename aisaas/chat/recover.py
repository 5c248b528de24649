"""Replies whose process is gone: settled from the log, exactly once.

Claiming renews the lease for the claimer, so several processes share the work, and if one dies here
the next takes over. What was produced is charged; what was shown is kept. A reply that can't be
settled ends for its readers, waits for a retry, and doesn't block others.

A lease that ran out while the database was down proves nothing: its process could not renew it. So
the job takes nothing over before the database has answered for STEADY_SECONDS in a row; by then every
live process has renewed its leases.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from aisaas.billing.job_failures.failures import JobFailures, Patience
from aisaas.billing.reservations import store as reservations_store
from aisaas.billing.reservations.store import Abandoned
from aisaas.chat import store
from aisaas.chat.catalogue import Catalogue
from aisaas.chat.ports import LoggedReply, ReplyLog
from aisaas.chat.settle import Owed, Produced, Settler, Unsettled
from aisaas.chat.track import thinking_id
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow
from aisaas.language_models import Model
from aisaas.observe import context
from aisaas.prices import Price

log = logging.getLogger(__name__)

BATCH = 20
# A reply still streaming without a reservation this long after its start is orphaned.
ORPHAN_SECONDS = 120
# A live process has renewed by then: it tries every half second, and each try takes at most 2.5 s.
STEADY_SECONDS = 7.0
# After a longer gap between checks, the database may have been down in between.
GAP_SECONDS = 4.0
# A check that takes longer may have waited for a database that hung.
PROMPT_SECONDS = 1.0
JOB = "recover_replies"


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
        self._failures = JobFailures(service)
        # Since when the database has answered every check, None if it didn't; and the last check.
        self._steady_since: float | None = None
        self._looked_at = 0.0

    async def run_when_steady(self) -> int:
        """As `run_once`, for a job that runs every few seconds; does nothing until the database has
        been up for a while."""
        began = time.monotonic()
        steady, self._steady_since = self._steady_since, None
        now = await self._service.ask(reservations_store.clock())
        ended = time.monotonic()
        if (
            steady is None
            or ended - began > PROMPT_SECONDS
            or began - self._looked_at > GAP_SECONDS
        ):
            steady = ended
        settled = 0
        if began - steady >= STEADY_SECONDS:
            settled = await self.run_once(until=now + timedelta(seconds=PROMPT_SECONDS))
        self._steady_since, self._looked_at = steady, time.monotonic()
        return settled

    async def run_once(self, *, until: datetime | None = None) -> int:
        """Settle abandoned calls; returns how many reservations were closed.

        Args:
            until: by the database's clock; nothing is taken over later than that.

        Raises:
            DependencyError: the database or the log is down. The rest is settled later: without the
                log it is unknown what was shown, so nothing is closed.
        """
        async with self._service.transaction() as session:
            abandoned = await reservations_store.claim_abandoned(session, BATCH, until=until)
        settled = await self._settle_all(abandoned)
        orphans = await self._end_orphans()
        if settled or orphans:
            log.warning("recovered %d reservations, %d replies without one", settled, orphans)
        return settled

    async def _settle_all(self, abandoned: Sequence[Abandoned]) -> int:
        settled, patience = 0, Patience()
        for item in abandoned:
            if item.message_id is not None and self._running_here(item.message_id):
                # This process still runs it: it was only late to renew.
                continue
            with context.entered(user=item.user_id, reply=item.message_id):
                try:
                    settled += await self._settle_or_note(item)
                    patience.answered()
                except DependencyError as error:
                    patience.unanswered(error)
        patience.end()
        return settled

    async def _settle_or_note(self, item: Abandoned) -> bool:
        try:
            done = await self._settle(item)
        except DependencyError:
            raise
        except Exception as error:
            # A failure of this call must not block the others.
            log.exception("call %s could not be recovered", item.request_id)
            await self._failures.failed(JOB, str(item.request_id), error)
            return False
        if item.failed_before:
            await self._failures.succeeded(JOB, str(item.request_id))
        return done

    async def _end_orphans(self) -> int:
        async with self._service.transaction() as session:
            orphans = await store.find_orphans(session, ORPHAN_SECONDS, BATCH)
        ended = 0
        for message_id in orphans:
            try:
                async with self._service.transaction() as session:
                    ended += await store.end_orphan(session, message_id)
            except DependencyError:
                raise
            except Exception as error:
                log.exception("reply %s could not be ended", message_id)
                await self._failures.failed(JOB, f"message {message_id}", error)
        return ended

    async def _settle(self, item: Abandoned) -> bool:
        held = _as_held(item)
        asked = held.get(item.model) or self._catalogue.get(item.model) or _retired(item)
        # A call without a message, like a title's, is logged by its request.
        logged = await self._log.read(item.message_id or item.request_id)
        unsettled = await self._settler.unsettled(item.message_id)
        if logged is None and unsettled.text:
            # It ended for its readers, and the log has expired since.
            logged = LoggedReply(unsettled.before + unsettled.text, None, None, closed=True)
        thought = await self._log.read(thinking_id(item.message_id or item.request_id))
        owed = Owed(
            request_id=item.request_id,
            user_id=item.user_id,
            conversation_id=item.conversation_id,
            message_id=item.message_id,
            purpose=item.purpose,
            plan=item.plan,
            asked=asked,
            prompt_count=item.prompt_count,
            max_tokens=item.max_tokens,
            metered_customer=item.metered_customer,
            question_tokens=unsettled.question_tokens,
        )
        produced = replace(
            self._produced(logged, asked, held, unsettled),
            thinking=thought.text.removeprefix(unsettled.thinking) if thought is not None else "",
        )
        try:
            if not await self._settler.settle_once(owed, produced):
                return False
        except (DependencyError, TooSlow):
            raise
        except Exception:
            if item.message_id is not None:
                await self._settler.end_unbooked(item.message_id, produced.before + produced.text)
            raise
        try:
            log_id = item.message_id or item.request_id
            await self._log.close(log_id)
            await self._log.close(thinking_id(log_id))
        except DependencyError:
            log.warning("log of call %s left to expire", item.request_id)
        return True

    def _produced(
        self,
        logged: LoggedReply | None,
        asked: Model,
        held: Mapping[str, Model],
        unsettled: Unsettled,
    ) -> Produced:
        text = logged.text[len(unsettled.before) :] if logged is not None else ""
        answering = logged.model if logged is not None else None
        answered: Model | None = None
        if answering is not None:
            answered = held.get(answering) or self._catalogue.get(answering)
        return Produced(
            outcome="interrupted",
            text=text,
            answered=answered or (asked if text else None),
            usage=logged.usage if logged is not None else None,
            # The process may have died between the end of the stream and the settling; in doubt, use
            # the provider's prompt count and count the text.
            complete=False,
            started=True,
            error_code="process_lost",
            before=unsettled.before,
        )


def _as_held(item: Abandoned) -> dict[str, Model]:
    """The call's models, by id, at the weights and prices it was reserved with."""
    found: dict[str, Model] = {}
    for held in item.models or ():
        try:
            found[held["id"]] = _settled_at(
                held["id"], held["provider"], Decimal(held["weight"]), Price.from_dict(held)
            )
        except (KeyError, TypeError, AttributeError, ArithmeticError):
            # Settle it as the catalogue has it now.
            log.exception("a model of call %s can't be read", item.request_id)
    return found


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
    """A model that was removed from the catalogue after the call, together with its price.

    Its tokens are booked at the weight they were reserved with; the ledger says `unknown` for the
    price, and an error is logged for the operator.
    """
    log.error("call %s was to %s, which has no price any more", item.request_id, item.model)
    nothing = Decimal(0)
    price = Price(nothing, nothing, nothing, version="unknown")
    return _settled_at(item.model, "unknown", item.weight, price)
