"""Keys that make a call repeatable: the first answer is stored and returned again.

Invariant: the answer is stored in the same transaction as the call's effect.
"""

import json
import time
from dataclasses import dataclass

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError

KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Object
    replayed: bool = False


def former(books: Books, key: str, request: str) -> Answer | None:
    """The answer that was given under this key.

    Raises `PaymentsError` (400, `idempotency_error`) if it was to another request.
    """
    row = books.database.execute(
        "select request, status, body from answers where key = ? and created > ?",
        (key, int(time.time()) - KEPT_SECONDS),
    ).fetchone()
    if row is None:
        return None
    asked, status, body = row
    if asked != request:
        raise PaymentsError(
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request.",
            kind="idempotency_error",
        )
    return Answer(status, json.loads(body), replayed=True)


def keep(books: Books, key: str, request: str, answer: Answer) -> None:
    now = int(time.time())
    books.database.execute("delete from answers where created <= ?", (now - KEPT_SECONDS,))
    books.database.execute(
        "insert or replace into answers values (?, ?, ?, ?, ?)",
        (key, request, answer.status, json.dumps(answer.body), now),
    )


def in_use(key: str) -> PaymentsError:
    return PaymentsError(
        "There is currently another in-progress request using this Idempotent Key (that probably "
        "means you submitted twice, and the other request is still going through): "
        f"{key}. Please try again later.",
        status=409,
        code="idempotency_key_in_use",
    )
