"""The request, user and reply that a log line or span belongs to.

It follows a task into the tasks it starts, so a reply's last line still names the click that
started it. Invariant: a user is named only by a pseudonym, which can't be reversed, or computed for
a known user, without SESSION_SECRET.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from uuid import UUID

PSEUDONYM_LENGTH = 16
_PURPOSE = b"aisaas pseudonyms in logs and traces"

# Until `identify` was called, pseudonyms mean something to this process only.
_key = secrets.token_bytes(32)
_NOTHING: Mapping[str, str] = MappingProxyType({})
_current: ContextVar[Mapping[str, str]] = ContextVar("observed", default=_NOTHING)


def identify(secret: str) -> None:
    """Derive pseudonyms from `secret`: the same in all processes that have it."""
    global _key  # noqa: PLW0603  # of this process, like the logging that it is for
    _key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)


def pseudonym(user_id: UUID) -> str:
    digest = hmac.new(_key, user_id.bytes, hashlib.sha256).hexdigest()
    return digest[:PSEUDONYM_LENGTH]


def new_request() -> str:
    return secrets.token_hex(8)


def current() -> Mapping[str, str]:
    """`request`, `user` (a pseudonym) and `reply`, as far as they are known here."""
    return _current.get()


def add(*, request: str | None = None, user: UUID | None = None, reply: UUID | None = None) -> None:
    """From here on, in this task, until the block of `entered` around it ends."""
    _current.set(_with(request, user, reply))


@contextmanager
def entered(
    *, request: str | None = None, user: UUID | None = None, reply: UUID | None = None
) -> Generator[None]:
    """For the block; afterwards it is as it was before, whatever was added inside."""
    token = _current.set(_with(request, user, reply))
    try:
        yield
    finally:
        _current.reset(token)


def _with(request: str | None, user: UUID | None, reply: UUID | None) -> Mapping[str, str]:
    added = {
        "request": request,
        "user": pseudonym(user) if user is not None else None,
        "reply": str(reply) if reply is not None else None,
    }
    known = {name: value for name, value in added.items() if value is not None}
    return MappingProxyType({**_current.get(), **known})
