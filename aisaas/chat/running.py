"""The replies that run in this process: started here, stopped and followed by id, leases renewed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from aisaas.billing.reservations.quota import Quota
from aisaas.billing.reservations.store import LEASE_SECONDS
from aisaas.chat.ports import Admitted
from aisaas.chat.reply import NOTHING_BEFORE, Before, ReplyParts, RunningReply
from aisaas.controls.kill_switch import EngagedScopes
from aisaas.errors import DependencyError, Refusal
from aisaas.observe.draining import Draining
from aisaas.signals import Signals

log = logging.getLogger(__name__)

STOP_TOPIC = "stop-reply"
RENEW_SECONDS = LEASE_SECONDS / 3
# While the database is down; see recover.STEADY_SECONDS.
RENEW_AGAIN_SECONDS = 0.5
# The end of a shutdown's grace is for settling cut replies: this many seconds, at most this share.
SETTLE_SECONDS = 2.0
SETTLE_SHARE = 0.25
# The shortest shutdown, so that replies can settle even with less grace.
LEAST_SECONDS = 3.0


class RunningReplies:
    """A registry, and the tasks that belong to this process rather than to a tab."""

    def __init__(
        self, parts: ReplyParts, quota: Quota, signals: Signals, draining: Draining
    ) -> None:
        self._parts = parts
        self._quota = quota
        self._signals = signals
        self._replies: dict[UUID, RunningReply] = {}
        # Reservations of calls that aren't replies.
        self._leased: set[UUID] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._draining = draining
        # Set when the shutdown begins.
        self._ends_by: float | None = None

    @property
    def closing(self) -> bool:
        """True once the process is shutting down: no new reply starts."""
        return self._draining.begun

    def start(
        self,
        admitted: Admitted,
        conversation_id: UUID,
        message_id: UUID,
        before: Before = NOTHING_BEFORE,
    ) -> RunningReply:
        reply = RunningReply(self._parts, admitted, conversation_id, message_id, before)
        self._replies[message_id] = reply
        task = self.spawn(reply.run())
        task.add_done_callback(lambda _: self._forget(message_id, reply))
        return reply

    def _forget(self, message_id: UUID, reply: RunningReply) -> None:
        # It may have been continued after it was settled: that is another run of the same message.
        if self._replies.get(message_id) is reply:
            del self._replies[message_id]

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task that must outlive the tab that caused it; a shutdown waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    @contextmanager
    def keep_lease(self, request_id: UUID) -> Generator[None]:
        """Keep renewing the lease of a call that isn't a reply during the block."""
        self._leased.add(request_id)
        try:
            yield
        finally:
            self._leased.discard(request_id)

    def get(self, message_id: UUID) -> RunningReply | None:
        return self._replies.get(message_id)

    @property
    def count(self) -> int:
        return len(self._replies)

    def sessions(self) -> frozenset[UUID]:
        """The sessions that this process's replies belong to."""
        return frozenset(reply.admitted.session_id for reply in self._replies.values())

    def stop_of_session(self, session_id: UUID) -> None:
        """Stop an ended session's replies here; their text so far is kept and charged."""
        for reply in list(self._replies.values()):
            if reply.admitted.session_id == session_id:
                log.info("reply %s is stopped: its session is over", reply.message_id)
                reply.stop("stopped", "session_ended")

    @property
    def idle(self) -> bool:
        """No reply runs here."""
        return not self._replies

    def apply_kill_switches(self, switches: EngagedScopes) -> None:
        """Apply the engaged kill switches to every reply here; those that must end are settled with
        their text so far."""
        for reply in list(self._replies.values()):
            reply.apply_kill_switches(switches)

    async def stop(self, message_id: UUID) -> None:
        """Stop a reply wherever it runs."""
        reply = self._replies.get(message_id)
        if reply is not None:
            reply.stop()
            return
        await self._signals.send(STOP_TOPIC, str(message_id))

    async def listen_for_stops(self) -> None:
        """Apply stops requested in other processes. Runs until canceled."""
        async for subject in self._signals.receive(STOP_TOPIC):
            try:
                reply = self._replies.get(UUID(subject))
            except ValueError:
                continue
            if reply is not None:
                reply.stop()

    async def renew_leases(self) -> None:
        """Tell the database that the calls of this process are alive. Runs until cancelled."""
        failed = False
        while True:
            await asyncio.sleep(RENEW_AGAIN_SECONDS if failed else RENEW_SECONDS)
            try:
                await self._renew_leases()
                failed = False
            except DependencyError:
                if not failed:
                    # Settling keeps retrying too; if another process takes one over, only one books.
                    log.warning("leases are not renewed: the database does not answer")
                failed = True
            except Exception:
                # An unexpected error in one round must not stop the later ones.
                log.exception("leases are not renewed")
                failed = True

    async def _renew_leases(self) -> None:
        held = {reply.admitted.request_id: reply for reply in self._replies.values()}
        wanted = [*held, *self._leased]
        if not wanted:
            return
        alive = await self._quota.renew_leases(wanted)
        for request_id, reply in held.items():
            if request_id not in alive and reply.produced is None:
                log.warning("reply %s was taken over", reply.message_id)
                reply.mark_lease_lost()

    async def shut_down(self, grace_seconds: float) -> None:
        """Let replies finish, then settle the rest as interrupted, all within the grace period.

        A second call, as the server makes after the signal, gets the rest of that time.
        """
        self._draining.begin()
        now = asyncio.get_running_loop().time
        whole = max(grace_seconds, LEAST_SECONDS)
        if self._ends_by is None:
            self._ends_by = now() + whole
        settling = max(min(SETTLE_SECONDS, whole * SETTLE_SHARE), whole - grace_seconds)
        await self._wait(self._ends_by - settling - now())
        for reply in list(self._replies.values()):
            reply.stop("interrupted", "shutdown")
        await self._wait(self._ends_by - now())
        for task in list(self._tasks):
            log.warning("a task did not end in time; the recovery settles what it held")
            task.cancel()

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(seconds, 0.0))

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # The caller shows a refusal; only surprises are logged.
        if not isinstance(error, Refusal):
            log.error("a task of a reply failed", exc_info=error)
