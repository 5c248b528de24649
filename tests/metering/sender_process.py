"""A process of its own that sends usage, on a machine whose clock is TEST_SKEW seconds off.

It ends by `os._exit` when it passes TEST_POINT for the TEST_TIMES-th time: no handler, no goodbye.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from typing import Any

SKEW = float(os.environ.get("TEST_SKEW", "0"))
_time, _datetime = time.time, datetime.datetime


class Skewed(_datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _datetime.now(tz) + datetime.timedelta(seconds=SKEW)


if SKEW:
    # Before anything of the product is imported, so that all of it sees the wrong clock.
    time.time = lambda: _time() + SKEW
    datetime.datetime = Skewed

POINTS = ("claimed", "sent", "written", "unwritten")
EXIT = 9


class Death:
    """What stands between the sender and a part of it, and ends the process there."""

    def __init__(self, real: Any, point: str, times: int) -> None:
        self._real = real
        self._point = point
        self._left = times

    def pass_by(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os._exit(EXIT)

    async def report_usage(self, event: Any) -> bool:
        self.pass_by("claimed")
        done = await self._real.report_usage(event)
        self.pass_by("sent")
        return done

    async def ask(self, question: Any, **options: Any) -> Any:
        writes = "set state = 'sent'" in question.statements[0][0]
        if writes:
            self.pass_by("unwritten")
        answer = await self._real.ask(question, **options)
        if writes:
            self.pass_by("written")
        return answer


async def main() -> None:
    from aisaas.adapters.stripe_payments import StripePayments
    from aisaas.billing.metering.outbox import Outbox
    from aisaas.db.engine import DatabasePool
    from aisaas.db.service import ServiceDatabase

    point, times = os.environ.get("TEST_POINT", ""), int(os.environ.get("TEST_TIMES", "1"))
    login = DatabasePool(os.environ["TEST_DATABASE"])
    payments = StripePayments(os.environ["TEST_KEY"], api_base=os.environ["TEST_API"])
    database: Any = Death(ServiceDatabase(login), point, times)
    provider: Any = Death(payments, point, times)
    print("here", flush=True)  # noqa: T201
    await Outbox(database, provider).deliver_due()
    await payments.close()
    await login.close()


if __name__ == "__main__":
    asyncio.run(main())
