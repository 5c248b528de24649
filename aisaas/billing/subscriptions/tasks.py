"""Changes to subscriptions at the payment provider.

A customer has one live subscription. A second one that was paid anyway (two tabs, an old page) is
ended and refunded; one whose payment was refunded is ended if the settings say so; a schedule that
has done its work is released, so that the portal offers to cancel again.

A task is recorded in the transaction that finds the fact, and done by a job, without an open
transaction:

    a look or an event ─► subscription_tasks ─► the provider ─► mails, and the task is gone

Invariant: doing a task again changes nothing, so a crash in the middle loses nothing and repeats nothing.

Outages: without the provider or the database it waits and is retried; one that can't be done is set
aside for an admin, and doesn't block others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.job_failures.failures import JobFailures, Patience
from aisaas.billing.job_failures.relations import FAILED, NOT_DUE
from aisaas.billing.notices import notices
from aisaas.billing.notices.notices import add_notice
from aisaas.billing.ports import EndedSubscription, Payments
from aisaas.billing.subscriptions.store import TaskKind
from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError

log = logging.getLogger(__name__)

JOB = "subscription_tasks"
# Longer than a task's calls to the provider can take.
CLAIM_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Task:
    kind: TaskKind
    subscription_id: str
    user_id: UUID
    failed_before: bool

    @property
    def item(self) -> str:
        return f"{self.kind} {self.subscription_id}"


class SubscriptionTasks:
    """Does what is noted. Safe in any number of processes."""

    def __init__(
        self, service: ServiceDatabase, payments: Payments, subscriptions: Subscriptions
    ) -> None:
        self._service = service
        self._payments = payments
        self._subscriptions = subscriptions
        self._failures = JobFailures(service)

    async def run_once(self, limit: int = 20) -> int:
        """Do up to `limit`; how many were due. Raises DependencyError: the rest waits."""
        async with self._service.transaction() as session:
            tasks = await _claim(session, limit)
        patience = Patience()
        for task in tasks:
            try:
                await self._do(task)
                patience.answered()
            except DependencyError as error:
                # Its claim runs out, and it is done then.
                patience.unanswered(error)
            except Exception as error:
                # A failure of this task must not block the others.
                log.exception("%s of %s could not be done", task.kind, task.subscription_id)
                await self._failures.failed(JOB, task.item, error)
        patience.end()
        return len(tasks)

    async def _do(self, task: Task) -> None:
        ended: EndedSubscription | None = None
        if task.kind == "release_schedule":
            await self._payments.keep_plan(task.subscription_id)
        else:
            refund = task.kind == "end_duplicate"
            ended = await self._payments.end_subscription(task.subscription_id, refund=refund)
        async with self._service.transaction() as session:
            if ended is not None:
                await self._tell(session, task, ended)
            await _forget(session, task)
        if task.failed_before:
            await self._failures.succeeded(JOB, task.item)
        if ended is not None:
            await self._subscriptions.synchronise_customer(ended.customer_id, user_id=task.user_id)

    async def _tell(self, session: AsyncSession, task: Task, ended: EndedSubscription) -> None:
        if task.kind != "end_duplicate":
            return
        values = {
            "subscription": ended.id,
            "plan": ended.plan,
            "amount": ended.refunded,
            "currency": ended.currency,
            "customer": ended.customer_id,
            "user_id": str(task.user_id),
        }
        key = f"{notices.DUPLICATE_ENDED}:{ended.id}"
        await add_notice(session, task.user_id, notices.DUPLICATE_ENDED, key, values)
        await add_notice(session, None, notices.DUPLICATE_FOUND, f"{key}:admins", values)


async def _claim(session: AsyncSession, limit: int) -> Sequence[Task]:
    rows = await session.execute(
        text(
            f"""
            update private.subscription_tasks t
            set claimed_until = now() + make_interval(secs => :seconds)
            where (t.kind, t.subscription_id) in (
              select d.kind, d.subscription_id from private.subscription_tasks d
              where d.claimed_until <= now() and not exists (
                select 1 from {NOT_DUE} f
                where f.job = :job and f.item = d.kind || ' ' || d.subscription_id
              )
              order by d.created_at limit :limit for update of d skip locked
            )
            returning t.kind, t.subscription_id, t.user_id, exists (
              select 1 from {FAILED} f
              where f.job = :job and f.item = t.kind || ' ' || t.subscription_id
            ) as failed_before
            """  # noqa: S608  # relations of ours
        ),
        {"job": JOB, "limit": limit, "seconds": CLAIM_SECONDS},
    )
    return [Task(**row) for row in rows.mappings()]


async def _forget(session: AsyncSession, task: Task) -> None:
    await session.execute(
        text(
            "delete from private.subscription_tasks"
            " where kind = :kind and subscription_id = :subscription"
        ),
        {"kind": task.kind, "subscription": task.subscription_id},
    )
