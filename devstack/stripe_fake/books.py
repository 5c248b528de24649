"""Everything the fake knows, in one SQLite file.

An object is a dict in the shape of Stripe's API, with references as ids. Keys that begin with an
underscore are the fake's own: kept, and never shown.

Invariant: what happens inside `transaction` happens whole or not at all, whatever ends it, a
`kill -9` included. Nothing is awaited inside one, so that there is never a second one.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sqlite3
import string
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from devstack.stripe_fake import answers
from devstack.stripe_fake.clock import Clock
from devstack.stripe_fake.errors import missing_resource

API_VERSION = "2026-10-28.endive"
ID_CHARACTERS = string.ascii_letters + string.digits
ID_LENGTH = 24
FIELD = re.compile(r"[a-z_]+")

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """Scheduled work: when it is next due, if at all, and how to run it.

    `run(books, at)` does everything due at that time, which must then no longer be due; it has its
    own transaction, and `books.now()` is `at` meanwhile.
    """

    next: Callable[[Books], int | None]
    run: Callable[[Books, int], None]


class Books:
    """The objects, the clock and the events about them."""

    def __init__(self, path: Path, *, strict: bool = True) -> None:
        """`strict` refuses to emit what has not the types of the SDK."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("pragma journal_mode = wal")
        # Safe against the end of this process; the power may take the last moments.
        self.database.execute("pragma synchronous = normal")
        self.database.executescript(Path(__file__).with_name("schema.sql").read_text())
        moves = self.database.execute("select wall, ahead from clock_moves order by rowid")
        self.clock = Clock([(wall, ahead) for wall, ahead in moves])
        self.strict = strict
        self.at_due: list[Due] = []
        self.after_commit: list[Callable[[], None]] = []
        # Cleanup before a customer is deleted, in the same transaction.
        self.at_customer_deleted: list[Callable[[Books, Object], None]] = []
        # Whose doing an event is: the request's id and its idempotency key.
        self.request: tuple[str | None, str | None] = (None, None)
        # The test clock in effect; None for the books' own.
        self.clocked: str | None = None
        # The server's own address, for links to its pages.
        self.base_url = ""

    def close(self) -> None:
        self.database.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        self.database.execute("begin immediate")
        try:
            yield
        except BaseException:
            self.database.execute("rollback")
            raise
        self.database.execute("commit")
        for notify in self.after_commit:
            notify()

    # Objects

    def new_id(self, prefix: str) -> str:
        """`cus` gives something like `cus_R4nd0m…`."""
        return f"{prefix}_{''.join(secrets.choice(ID_CHARACTERS) for _ in range(ID_LENGTH))}"

    def add(self, obj: Object, event: str | None = None) -> Object:
        """Store a new object, and emit the event if one is named."""
        self.database.execute(
            "insert into objects (kind, id, body) values (?, ?, ?)",
            (obj["object"], obj["id"], json.dumps(obj)),
        )
        if event:
            self.emit(event, obj)
        return obj

    def save(self, obj: Object) -> Object:
        self.database.execute(
            "update objects set body = ? where kind = ? and id = ?",
            (json.dumps(obj), obj["object"], obj["id"]),
        )
        return obj

    def remove(self, obj: Object) -> None:
        self.database.execute(
            "delete from objects where kind = ? and id = ?", (obj["object"], obj["id"])
        )

    def get(self, kind: str, given: str) -> Object | None:
        """A copy: changes count once they are given to `save`."""
        row = self.database.execute(
            "select body from objects where kind = ? and id = ?", (kind, given)
        ).fetchone()
        return json.loads(row[0]) if row else None

    def need(self, kind: str, given: str, param: str = "id") -> Object:
        """Raises `PaymentsError` (404, `resource_missing`) that names `param`."""
        found = self.get(kind, given)
        if found is None:
            raise missing_resource(kind, given, param)
        return found

    def all(self, kind: str, **equal: object) -> list[Object]:
        """The objects whose fields equal the given values, in the order they were added."""
        conditions = "".join(f" and {_field(name)} is ?" for name in equal)
        rows = self.database.execute(
            f"select body from objects where kind = ?{conditions} order by seq",  # noqa: S608
            (kind, *equal.values()),
        )
        return [json.loads(body) for (body,) in rows]

    # Time

    def now(self) -> int:
        """The books' present, in Unix seconds."""
        return self.clock.now()

    def virtual(self, wall: int) -> int:
        """The books' instant for one of the machine's."""
        return self.clock.virtual(wall)

    async def advance(self, seconds: int) -> None:
        """Let time pass, and do what falls due in it.

        It waits for the machine's next whole second, so that every timestamp is clearly before or
        after.
        """
        wall, ahead = int(time.time()) + 1, self.clock.ahead + seconds
        with self.transaction():
            self.database.execute("insert into clock_moves values (?, ?)", (wall, ahead))
        self.clock.moves.append((wall, ahead))
        await asyncio.sleep(wall - time.time())
        self.run_due()

    def run_due(self) -> None:
        """Do everything due by now, in the order it falls due, each at its own time."""
        until = self.now()
        while upcoming := self._upcoming(until):
            at, due = upcoming
            with self.on_clock(None, at), self.transaction():
                due.run(self, at)

    def work_off(self, until: int) -> None:
        """As `run_due`, up to an instant of the clock that counts, in the caller's transaction."""
        while upcoming := self._upcoming(until):
            at, due = upcoming
            with self.on_clock(self.clocked, at):
                due.run(self, at)

    @contextmanager
    def on_clock(self, test_clock: str | None, at: int) -> Generator[None]:
        """It is `at` by a test clock, or by the books' own, for what is done inside."""
        before = self.clocked, self.clock.pinned
        self.clocked, self.clock.pinned = test_clock, at
        try:
            yield
        finally:
            self.clocked, self.clock.pinned = before

    def _upcoming(self, until: int) -> tuple[int, Due] | None:
        waiting = [(at, due) for due in self.at_due if (at := due.next(self)) is not None]
        first = min(waiting, key=lambda entry: entry[0], default=None)
        return first if first is not None and first[0] <= until else None

    # Events

    def emit(self, kind: str, obj: Object, previous: Object | None = None) -> Object:
        """Record a snapshot event; it is delivered after the transaction.

        `previous` holds the former values of what an update changed.
        """
        data: Object = {"object": shown(obj)}
        if previous is not None:
            data["previous_attributes"] = shown(previous)
        request, key = self.request
        event: Object = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "request": {"id": request, "idempotency_key": key},
            "type": kind,
        }
        return self._deliver(event)

    def emit_thin(self, kind: str, related: Object | None, data: Object) -> Object:
        """Record a thin event about an object; who receives it fetches `data` with its id."""
        event: Object = {
            "id": self.new_id("evt_test"),
            "object": "v2.core.event",
            "type": kind,
            "livemode": False,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.now())),
            "data": data,
        }
        if related is not None:
            event["related_object"] = related
        return self._deliver(event)

    def _deliver(self, event: Object) -> Object:
        thin = event["object"] == "v2.core.event"
        # The number of waiting endpoints is filled in when the event is read.
        whole = event if thin else event | {"pending_webhooks": 0}
        answers.check(whole, strict=self.strict)
        wanted = [
            endpoint["id"]
            for endpoint in self.all("webhook_endpoint", status="enabled")
            if endpoint.get("_thin", False) == thin
            and not {"*", event["type"]}.isdisjoint(endpoint["enabled_events"])
        ]
        self.add(event)
        self.database.executemany(
            "insert into deliveries (event, kind, endpoint) values (?, ?, ?)",
            [(event["id"], event["object"], endpoint) for endpoint in wanted],
        )
        return event


def shown(value: Any) -> Any:
    """A value without the fake's private fields."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        return {name: shown(each) for name, each in pairs.items() if not name.startswith("_")}
    if isinstance(value, list):
        return [shown(each) for each in cast("list[Any]", value)]
    return value


def _field(name: str) -> str:
    if not FIELD.fullmatch(name):
        raise ValueError(f"not the name of a field: {name!r}")
    return f"json_extract(body, '$.{name}')"
