"""Limits against guessing passwords and flooding mailboxes: the rules as data.

Counters are named by a keyed hash: Redis holds neither email nor network addresses.

Outages: without the limiter's answer, the attempt is not made (DependencyError, shown as
`unavailable`). Otherwise guessing would be unlimited while Redis is down.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aisaas.accounts.ports import Limiter, Window
from aisaas.errors import AuthError

Kind = Literal["sign_in", "sign_up", "mail_from", "mail_to"]
Subject = Literal["account", "address"]

QUARTER = 15 * 60
HOUR = 3600
# An account may be tried this many times more often from all addresses than from one.
EVERYWHERE = 10

SENTENCE = "Too many attempts. Try again in {wait}."


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` attempts in `seconds`, counted by what `by` names."""

    name: str
    by: tuple[Subject, ...]
    limit: int
    seconds: int


Rules = Mapping[Kind, tuple[Rule, ...]]


def rules(
    *,
    sign_in_tries_per_account: int,
    sign_in_tries_per_address: int,
    sign_ups_per_address: int,
    mails_per_account: int,
    mails_per_address: int,
) -> Rules:
    """The rules, with the operator's numbers. `account` is an email address, known or not."""
    everywhere = EVERYWHERE * sign_in_tries_per_account
    return {
        "sign_in": (
            Rule("sign-in", ("account", "address"), sign_in_tries_per_account, QUARTER),
            Rule("sign-in-everywhere", ("account",), everywhere, QUARTER),
            Rule("sign-in-from", ("address",), sign_in_tries_per_address, QUARTER),
        ),
        "sign_up": (Rule("sign-up-from", ("address",), sign_ups_per_address, HOUR),),
        "mail_from": (Rule("mail-from", ("address",), mails_per_address, HOUR),),
        "mail_to": (Rule("mail-to", ("account",), mails_per_account, HOUR),),
    }


@dataclass(frozen=True, slots=True)
class Attempt:
    """A counted attempt, which can be released."""

    id: UUID
    windows: tuple[Window, ...]


class Attempts:
    """Counts attempts by the rules."""

    def __init__(self, limiter: Limiter, session_secret: str, by: Rules) -> None:
        self._limiter = limiter
        self._rules = by
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"aisaas attempts").derive(
            session_secret.encode()
        )

    async def count(
        self, kind: Kind, *, account: str | None = None, address: str | None = None
    ) -> Attempt:
        """Count an attempt. Without an `address` (no network between) only the account counts.

        Raises:
            AuthError: `too_many_tries`, with the time to wait.
            DependencyError: the count is unknown; nothing may be attempted.
        """
        subjects = {"account": account.strip().lower() if account else None, "address": address}
        windows: list[Window] = []
        for rule in self._rules[kind]:
            named = [subjects[subject] for subject in rule.by]
            if all(named):
                key = f"{rule.name}:{self._hash(*(name or '' for name in named))}"
                windows.append(Window(key, rule.limit, rule.seconds))
        attempt = Attempt(uuid4(), tuple(windows))
        full = await self._limiter.acquire(attempt.id, attempt.windows)
        if full is not None:
            sentence = SENTENCE.format(wait=_in_words(full.seconds))
            raise AuthError("too_many_tries", sentence, retry_after=full.seconds)
        return attempt

    async def release(self, attempt: Attempt) -> None:
        await self._limiter.release(attempt.id, attempt.windows)

    def _hash(self, *parts: str) -> str:
        message = "\x00".join(parts).encode("utf-8", "replace")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]


def _in_words(seconds: float) -> str:
    minutes = max(1, -(-int(seconds) // 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
