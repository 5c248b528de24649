"""Replies whose process is gone: settled from the log, exactly once.

Claiming renews the lease for the claimer, so several processes share the work, and one that dies
here leaves it to the next. What was produced is charged; what was shown is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from aisaas.billing import store as billing_store
from aisaas.billing.models import Charge
from aisaas.billing.quota import book, charged_weight
from aisaas.billing.store import Abandoned
from aisaas.chat import store
from aisaas.chat.catalogue import Catalogue
from aisaas.chat.settle import Produced, counts
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError
from aisaas.ports import LoggedReply, Model, ReplyLog

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
        count_tokens: Callable[[str], int],
        *,
        running_here: Callable[[UUID], bool],
    ) -> None:
        self._service = service
        self._log = reply_log
        self._catalogue = catalogue
        self._count_tokens = count_tokens
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
        logged = await self._log.read(item.message_id) if item.message_id is not None else None
        asked = self._catalogue.get(item.model)
        if asked is None:
            # The model left the catalogue since: nothing can be priced, so nothing is charged.
            log.error("reservation %s is for an unknown model %s", item.request_id, item.model)
        produced = _produced(logged, asked, self._catalogue)
        answered = produced.answered or asked
        async with self._service.transaction() as session:
            if answered is None or asked is None:
                cost = (
                    Decimal(0)
                    if await billing_store.close_reservation(
                        session, item.request_id, quota_tokens=0, cost_usd=Decimal(0)
                    )
                    else None
                )
                prompt_tokens = completion_tokens = 0
            else:
                tokens = counts(produced, item.prompt_count, self._count_tokens)
                prompt_tokens, completion_tokens = tokens.prompt_tokens, tokens.completion_tokens
                cost = await book(
                    session,
                    Charge(
                        request_id=item.request_id,
                        user_id=item.user_id,
                        conversation_id=item.conversation_id,
                        message_id=item.message_id,
                        purpose=item.purpose,
                        plan=item.plan,
                        model=answered,
                        weight=charged_weight(asked, answered),
                        prompt_tokens=tokens.prompt_tokens,
                        cached_prompt_tokens=tokens.cached_prompt_tokens,
                        completion_tokens=tokens.completion_tokens,
                        counted_by=tokens.counted_by,
                        outcome="interrupted",
                        metered_customer=item.metered_customer,
                    ),
                )
            if cost is None:
                return False
            if item.message_id is not None:
                await store.end_reply(
                    session,
                    store.Ending(
                        message_id=item.message_id,
                        content=produced.text,
                        status="interrupted",
                        answered_by=produced.answered.id if produced.answered else None,
                        token_count=self._count_tokens(produced.text),
                        question_tokens=None,
                        prompt_tokens=prompt_tokens,
                        completion_tokens=completion_tokens,
                        cost_usd=cost,
                        history_cut=None,
                        error_code="process_lost",
                    ),
                )
        if item.message_id is not None:
            try:
                await self._log.close(item.message_id)
            except DependencyError:
                log.warning("log of reply %s left to expire", item.message_id)
        return True


def _produced(logged: LoggedReply | None, asked: Model | None, catalogue: Catalogue) -> Produced:
    answered = catalogue.get(logged.model) if logged is not None and logged.model else None
    return Produced(
        outcome="interrupted",
        text=logged.text if logged is not None else "",
        answered=answered or (asked if logged is not None and logged.text else None),
        usage=logged.usage if logged is not None else None,
        # The process may have died between the provider's last word and the settling; without
        # knowing, its prompt count is used and the text is counted.
        complete=False,
        started=True,
        error_code="process_lost",
    )
