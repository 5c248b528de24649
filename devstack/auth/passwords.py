"""Passwords: argon2id, off the event loop, few at a time.

Invariant: checking a password for an account that doesn't exist costs as much as for one that does.
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from devstack.auth.errors import AuthError, invalid, weak_password

# Hosted Supabase uses bcrypt, which reads no further. A password accepted here must work there.
MAXIMUM_BYTES = 72
PARALLEL_HASHES = 2
WAITING_HASHES = 200

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def check_new_password(password: str, *, minimum: int) -> None:
    """Raises `AuthError` (422 weak_password, or 400 when too long)."""
    if len(password) < minimum:
        raise weak_password(minimum)
    if len(password.encode()) > MAXIMUM_BYTES:
        raise invalid(f"Password cannot be longer than {MAXIMUM_BYTES} bytes")


def check_foreign_hash(encoded: str) -> None:
    """Accepts a hash made elsewhere only when `Passwords.verify` can read it."""
    try:
        PasswordHasher().check_needs_rehash(encoded)
    except InvalidHashError as error:
        raise invalid("password_hash must be an argon2 hash") from error


class Passwords:
    def __init__(self, kib: int) -> None:
        """Each running hash takes `kib` of memory."""
        self._hasher = PasswordHasher(time_cost=2, memory_cost=kib, parallelism=1)
        self._threads = ThreadPoolExecutor(PARALLEL_HASHES, thread_name_prefix="password")
        self._waiting = 0
        self._nobodys_hash = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        return await self._in_thread(self._hash, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether `password` belongs to `encoded`. Without a hash: False, just as slowly."""
        matches = await self._in_thread(self._verify, encoded or self._nobodys_hash, password)
        return matches and bool(encoded)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
        if self._waiting >= WAITING_HASHES:
            raise AuthError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "over_request_rate_limit",
                "Request rate limit reached",
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(work, *args))
        finally:
            self._waiting -= 1

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def _verify(self, encoded: str, password: str) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except (VerificationError, InvalidHashError):
            return False
