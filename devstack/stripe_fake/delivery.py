"""Delivers events, signed, until they are taken.

Invariant: an event is undelivered until its receiver answered 2xx and that was written down; a
crash in between delivers it again. Outages: a refused event is retried less and less often; an
endpoint that doesn't answer is probed every second, and the others don't wait for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import httpx
from stripe import WebhookSignature

from devstack.serving import log
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.events import payload
from devstack.stripe_fake.webhook_endpoints import KIND

BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
ANSWER_SECONDS = 20.0
# An absent endpoint is probed again soon: a single attempt is enough to notice it.
AWAY_SECONDS = 1.0
AT_ONCE = 4
SUCCESS = range(200, 300)


@dataclass(slots=True)
class Unreliability:
    """How delivery misbehaves: shares from 0 to 1, and whether order is kept."""

    duplicate: float = 0.0
    drop_answers: float = 0.0
    shuffle: bool = False
    paused: bool = False


class AwayError(Exception):
    """There was no answer at all."""


@dataclass(frozen=True, slots=True)
class Delivery:
    seq: int
    event: str
    kind: str
    endpoint: str
    attempts: int


class Deliverer:
    def __init__(self, books: Books) -> None:
        self.unreliability = Unreliability()
        self._books = books
        self._something = asyncio.Event()
        # Deliveries in progress, by endpoint.
        self._working: dict[str, asyncio.Task[list[bool]]] = {}
        # Loopback only, so never through a proxy of the environment.
        self._http = httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False)
        books.after_commit.append(self.wake)

    def wake(self) -> None:
        self._something.set()

    async def run(self) -> None:
        """Deliver due events until cancelled."""
        try:
            while True:
                self._something.clear()
                if not self.unreliability.paused:
                    self._begin(time.time())
                await self._wait()
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)
            await self._http.aclose()

    async def deliver_all(self) -> tuple[int, int]:
        """Try everything once that is undelivered, due or not; how many were taken and not."""
        await asyncio.gather(*self._working.values())
        outcomes = [taken for each in await asyncio.gather(*self._begin(None)) for taken in each]
        return sum(outcomes), len(outcomes) - sum(outcomes)

    def _begin(self, until: float | None) -> list[asyncio.Task[list[bool]]]:
        """Start a delivery to every endpoint with due events and no delivery in progress."""
        due = [each for each in self._due(until) if each.endpoint not in self._working]
        begun: list[asyncio.Task[list[bool]]] = []
        for endpoint in {each.endpoint for each in due}:
            wanted = [each for each in due if each.endpoint == endpoint]
            task = asyncio.create_task(self._work(endpoint, wanted))
            self._working[endpoint] = task
            begun.append(task)
        return begun

    async def _work(self, endpoint: str, deliveries: list[Delivery]) -> list[bool]:
        try:
            if self.unreliability.shuffle:
                return await self._in_any_order(deliveries)
            return await self._in_order(endpoint, deliveries)
        except Exception:  # noqa: BLE001  # logged; undelivered events are retried
            log("events could not be delivered", failed=True)
            await asyncio.sleep(BACKOFF_SECONDS[0])
            return []
        finally:
            del self._working[endpoint]
            self.wake()

    async def _in_order(self, endpoint: str, deliveries: list[Delivery]) -> list[bool]:
        outcomes: list[bool] = []
        for delivery in deliveries:
            try:
                outcomes.append(await self._deliver(delivery))
            except AwayError:
                # The other events wouldn't get through either.
                self._postpone(endpoint)
                break
        return outcomes + [False] * (len(deliveries) - len(outcomes))

    async def _in_any_order(self, deliveries: list[Delivery]) -> list[bool]:
        random.shuffle(deliveries)
        limit = asyncio.Semaphore(AT_ONCE)

        async def limited(delivery: Delivery) -> bool:
            async with limit:
                try:
                    return await self._deliver(delivery)
                except AwayError:
                    return False

        return await asyncio.gather(*(limited(delivery) for delivery in deliveries))

    async def _deliver(self, delivery: Delivery) -> bool:
        """Whether it was taken, as far as we heard. Raises `AwayError`."""
        endpoint = self._books.get(KIND, delivery.endpoint)
        event = self._books.get(delivery.kind, delivery.event)
        if endpoint is None or event is None:
            return False
        body = payload(self._books, event)
        try:
            heard = await self._post(endpoint, body)
        except AwayError:
            self._note(delivery, None)
            raise
        if heard in SUCCESS and random.random() < self.unreliability.drop_answers:  # noqa: S311
            heard = None
        self._note(delivery, heard)
        log("delivery", type=event["type"], status=heard, attempt=delivery.attempts + 1)
        if heard in SUCCESS and random.random() < self.unreliability.duplicate:  # noqa: S311
            await self._post(endpoint, body)
        return heard in SUCCESS

    async def _post(self, endpoint: Object, body: str) -> int:
        """The status of the answer. Raises `AwayError`."""
        signature = WebhookSignature.generate_signature_header(  # pyright: ignore[reportUnknownMemberType]
            body, endpoint["_secret"]
        )
        headers = {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": signature,
            "user-agent": "Stripe/1.0 (fake)",
        }
        try:
            answer = await self._http.post(endpoint["url"], content=body.encode(), headers=headers)
        except httpx.HTTPError as error:
            raise AwayError from error
        return answer.status_code

    def _due(self, until: float | None) -> list[Delivery]:
        rows = self._books.database.execute(
            "select seq, event, kind, endpoint, attempts from deliveries "
            "where not delivered and (? is null or due <= ?) order by seq",
            (until, until),
        )
        return [Delivery(*row) for row in rows]

    def _note(self, delivery: Delivery, status: int | None) -> None:
        pause = BACKOFF_SECONDS[min(delivery.attempts, len(BACKOFF_SECONDS) - 1)]
        self._books.database.execute(
            "update deliveries set attempts = attempts + 1, last_status = ?, delivered = ?, "
            "due = ? where seq = ?",
            (status, status in SUCCESS, time.time() + pause, delivery.seq),
        )

    def _postpone(self, endpoint: str) -> None:
        self._books.database.execute(
            "update deliveries set due = ? where endpoint = ? and not delivered",
            (time.time() + AWAY_SECONDS, endpoint),
        )

    async def _wait(self) -> None:
        """Wait until an event is new or due."""
        rows = self._books.database.execute(
            "select endpoint, min(due) from deliveries where not delivered group by endpoint"
        )
        awaited = [due for endpoint, due in rows if endpoint not in self._working]
        pause = None
        if awaited and not self.unreliability.paused:
            pause = max(0.0, min(awaited) - time.time())
        try:
            async with asyncio.timeout(pause):
                await self._something.wait()
        except TimeoutError:
            return
