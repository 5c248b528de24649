"""What a mail lets its reader do once: one-time tokens, and the codes of the PKCE flow.

Invariants: stored as hashes; used up by success, by age and by too many wrong guesses; a user has
at most one for each purpose.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from math import ceil
from typing import Literal
from uuid import UUID

from devstack.auth.database import Connection
from devstack.auth.errors import AuthError, invalid, too_soon
from devstack.auth.tokens import challenge_of, digest, new_code, new_token, same
from devstack.auth.users import User

Purpose = Literal[
    "confirmation", "recovery", "email_change_new", "email_change_current", "reauthentication"
]

LIFETIME_SECONDS = 3600
FLOW_LIFETIME_SECONDS = 300
WRONG_CODES = 5
CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}")
# Purposes that a link or code of each kind serves; a reauthentication's opens no session. To the server, a
# magic link and a password recovery are the same: proof of who reads the mailbox.
PURPOSES: dict[str, tuple[Purpose, ...]] = {
    "signup": ("confirmation",),
    "invite": ("confirmation",),
    "recovery": ("recovery",),
    "magiclink": ("recovery",),
    "email": ("confirmation", "recovery"),
    "email_change": ("email_change_new", "email_change_current"),
}


@dataclass(frozen=True, slots=True)
class Challenge:
    value: str
    kind: str


@dataclass(frozen=True, slots=True)
class Issued:
    code: str
    token_hash: str


@dataclass(frozen=True, slots=True)
class Redeemed:
    user_id: UUID
    purpose: Purpose
    relates_to: str
    challenge: Challenge | None


def read_challenge(value: str | None, kind: str | None) -> Challenge | None:
    if not value and not kind:
        return None
    if not value or not CHALLENGE.fullmatch(value) or (kind or "").lower() not in ("s256", "plain"):
        raise invalid("PKCE flow requires code_challenge_method and code_challenge")
    return Challenge(value, (kind or "").lower())


def expired() -> AuthError:
    return AuthError(HTTPStatus.FORBIDDEN, "otp_expired", "Token has expired or is invalid")


def check_interval(sent_at: datetime | None, interval: int) -> None:
    """Raises `AuthError` 429 when the last mail is younger than `interval` seconds."""
    if sent_at:
        left = interval - (datetime.now(UTC) - sent_at).total_seconds()
        if left > 0:
            raise too_soon(ceil(left))


async def issue(
    connection: Connection,
    user: User,
    purpose: Purpose,
    *,
    relates_to: str,
    challenge: Challenge | None = None,
    interval: int = 0,
) -> Issued:
    """A new token and code, in place of an earlier one of the same purpose.

    Raises `AuthError` 429 when the last one is younger than `interval` seconds.
    """
    sent_at = {
        "confirmation": user.confirmation_sent_at,
        "recovery": user.recovery_sent_at,
        "email_change_new": user.email_change_sent_at,
        "email_change_current": user.email_change_sent_at,
        "reauthentication": user.reauthentication_sent_at,
    }[purpose]
    check_interval(sent_at, interval)
    issued = Issued(new_code(), ("pkce_" if challenge else "") + new_token())
    await connection.execute(
        """
        insert into auth.one_time_tokens
          (user_id, purpose, link_hash, code_hash, relates_to, code_challenge, challenge_kind)
        values (%s, %s, %s, %s, %s, %s, %s)
        on conflict (user_id, purpose) do update set
          link_hash = excluded.link_hash, code_hash = excluded.code_hash,
          relates_to = excluded.relates_to, code_challenge = excluded.code_challenge,
          challenge_kind = excluded.challenge_kind, wrong_codes = 0, created_at = now()
        """,
        [
            user.id,
            purpose,
            digest(issued.token_hash),
            digest(relates_to, issued.code),
            relates_to,
            challenge.value if challenge else None,
            challenge.kind if challenge else None,
        ],
    )
    await connection.execute(
        """
        update auth.users set
          confirmation_sent_at =
            case when %(p)s = 'confirmation' then now() else confirmation_sent_at end,
          recovery_sent_at = case when %(p)s = 'recovery' then now() else recovery_sent_at end,
          email_change_sent_at =
            case when %(p)s like 'email_change_%%' then now() else email_change_sent_at end,
          reauthentication_sent_at =
            case when %(p)s = 'reauthentication' then now() else reauthentication_sent_at end
        where id = %(id)s
        """,
        {"p": purpose, "id": user.id},
    )
    return issued


async def redeem_link(connection: Connection, kind: str, token_hash: str) -> Redeemed | None:
    cursor = await connection.execute(
        """
        delete from auth.one_time_tokens
        where link_hash = %s and purpose = any(%s)
          and created_at > now() - make_interval(secs => %s)
        returning user_id, purpose, relates_to, code_challenge, challenge_kind
        """,
        [digest(token_hash), list(PURPOSES.get(kind, ())), LIFETIME_SECONDS],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    challenge = (
        Challenge(row["code_challenge"], row["challenge_kind"]) if row["code_challenge"] else None
    )
    return Redeemed(row["user_id"], row["purpose"], row["relates_to"], challenge)


async def redeem_code(
    connection: Connection, purposes: Sequence[Purpose], email: str, code: str
) -> Redeemed | None:
    """None for a wrong code, which is counted: the caller must commit."""
    cursor = await connection.execute(
        """
        select id, user_id, purpose, code_hash from auth.one_time_tokens
        where relates_to = %s and purpose = any(%s)
          and created_at > now() - make_interval(secs => %s)
        for update
        """,
        [email, list(purposes), LIFETIME_SECONDS],
    )
    rows = await cursor.fetchall()
    for row in rows:
        if same(bytes(row["code_hash"]), digest(email, code)):
            await connection.execute("delete from auth.one_time_tokens where id = %s", [row["id"]])
            return Redeemed(row["user_id"], row["purpose"], email, None)
    await connection.execute(
        "update auth.one_time_tokens set wrong_codes = wrong_codes + 1 where id = any(%s)",
        [[row["id"] for row in rows]],
    )
    await connection.execute(
        "delete from auth.one_time_tokens where id = any(%s) and wrong_codes >= %s",
        [[row["id"] for row in rows], WRONG_CODES],
    )
    return None


async def begin_flow(
    connection: Connection, user_id: UUID, challenge: Challenge, method: str
) -> str:
    """The code that, with the verifier only the asker has, can be exchanged for a session."""
    auth_code = new_token()
    await connection.execute(
        """
        insert into auth.flow_state (user_id, auth_code_hash, code_challenge, challenge_kind, method)
        values (%s, %s, %s, %s, %s)
        """,
        [user_id, digest(auth_code), challenge.value, challenge.kind, method],
    )
    return auth_code


async def finish_flow(connection: Connection, auth_code: str, verifier: str) -> tuple[UUID, str]:
    """The user and the method they proved themselves by. Raises `AuthError` 404 or 400."""
    cursor = await connection.execute(
        """
        select *, created_at > now() - make_interval(secs => %s) as fresh
        from auth.flow_state where auth_code_hash = %s for update
        """,
        [FLOW_LIFETIME_SECONDS, digest(auth_code)],
    )
    row = await cursor.fetchone()
    if row is None:
        raise AuthError(
            HTTPStatus.NOT_FOUND,
            "flow_state_not_found",
            "invalid flow state, no valid flow state found",
        )
    if not row["fresh"]:
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "flow_state_expired",
            "invalid flow state, flow state has expired",
        )
    if not same(challenge_of(verifier, row["challenge_kind"]), row["code_challenge"]):
        raise AuthError(
            HTTPStatus.BAD_REQUEST,
            "bad_code_verifier",
            "code challenge does not match previously saved code verifier",
        )
    await connection.execute("delete from auth.flow_state where id = %s", [row["id"]])
    return row["user_id"], row["method"]
