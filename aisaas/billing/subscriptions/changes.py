"""Wakes those who wait for a user's billing to change, in any process.

A signal carries only the user's id; the waiter it wakes reads the database. Signals may be lost
(Redis away, a reconnect), so a waiter is woken after a while in any case.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from uuid import UUID

from aisaas.billing.subscriptions.subscriptions import BILLING_CHANGED
from aisaas.signals import Signals


class BillingChanges:
    """The waiters of this process."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def listen(self) -> None:
        """Runs until cancelled."""
        async for user_id in self._signals.receive(BILLING_CHANGED):
            for waiter in self._waiting.get(user_id, ()):
                waiter.set()

    async def next(self, user_id: UUID, *, within: float) -> None:
        """Return at the next change, or after `within` seconds without one."""
        key, waiter = str(user_id), asyncio.Event()
        self._waiting[key].add(waiter)
        try:
            async with asyncio.timeout(within):
                await waiter.wait()
        except TimeoutError:
            return
        finally:
            self._waiting[key].discard(waiter)
            if not self._waiting[key]:
                del self._waiting[key]
