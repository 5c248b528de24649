"""Users and their identities: the rows, the SQL, and how the API shows them."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from devstack.auth.database import Connection, Row
from devstack.auth.errors import invalid

EMAIL_CHARACTERS = 255
EMAIL_PATTERN = re.compile(
    r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+"
    r"@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
)
EMAIL_INDEX = "users_email_key"
APP_METADATA = {"provider": "email", "providers": ["email"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: UUID
    aud: str | None
    role: str | None
    email: str | None
    encrypted_password: str | None
    email_confirmed_at: datetime | None
    invited_at: datetime | None
    confirmation_sent_at: datetime | None
    recovery_sent_at: datetime | None
    email_change: str | None
    email_change_sent_at: datetime | None
    email_change_confirm_status: int
    reauthentication_sent_at: datetime | None
    last_sign_in_at: datetime | None
    raw_app_meta_data: dict[str, Any] | None
    raw_user_meta_data: dict[str, Any] | None
    phone: str | None
    banned_until: datetime | None
    deleted_at: datetime | None
    is_anonymous: bool
    is_sso_user: bool
    created_at: datetime | None
    updated_at: datetime | None

    @property
    def banned(self) -> bool:
        return self.banned_until is not None and self.banned_until > datetime.now(UTC)

    @property
    def confirmed(self) -> bool:
        return self.email_confirmed_at is not None


def _user(row: Row) -> User:
    return User(**{field.name: row[field.name] for field in fields(User)})


def clean_email(text: str | None) -> str:
    """The address in lower case. Raises `AuthError` 400 when it is none."""
    if not text:
        raise invalid("An email address is required")
    if len(text) > EMAIL_CHARACTERS or not EMAIL_PATTERN.fullmatch(text):
        raise invalid("Unable to validate email address: invalid format")
    return text.lower()


def clean_id(text: str, name: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise invalid(f"{name} must be an UUID") from error


async def by_email(connection: Connection, email: str, *, lock: bool = False) -> User | None:
    cursor = await connection.execute(
        "select * from auth.users where lower(email) = %s and not is_sso_user for update"
        if lock
        else "select * from auth.users where lower(email) = %s and not is_sso_user",
        [email],
    )
    row = await cursor.fetchone()
    return _user(row) if row else None


async def by_id(connection: Connection, user_id: UUID, *, lock: bool = False) -> User | None:
    cursor = await connection.execute(
        "select * from auth.users where id = %s for update"
        if lock
        else "select * from auth.users where id = %s",
        [user_id],
    )
    row = await cursor.fetchone()
    return _user(row) if row else None


async def page(connection: Connection, *, offset: int, limit: int) -> tuple[list[User], int]:
    """Newest first, with the number of all users."""
    cursor = await connection.execute("select count(*) as total from auth.users")
    total = await cursor.fetchone()
    cursor = await connection.execute(
        "select * from auth.users order by created_at desc, id limit %s offset %s", [limit, offset]
    )
    return [_user(row) for row in await cursor.fetchall()], total["total"] if total else 0


async def create(
    connection: Connection,
    *,
    email: str,
    encrypted_password: str | None,
    confirmed: bool,
    user_metadata: Mapping[str, Any],
    app_metadata: Mapping[str, Any] | None = None,
    role: str | None = None,
    user_id: UUID | None = None,
    invited: bool = False,
    by_email: bool = True,
) -> User:
    """Without `by_email` the new user has no identity yet: the caller adds the provider's.

    Raises psycopg's `UniqueViolation` on `EMAIL_INDEX` when the address is taken.
    """
    new_id = user_id or uuid.uuid4()
    cursor = await connection.execute(
        """
        insert into auth.users (id, aud, role, email, encrypted_password, email_confirmed_at,
                                raw_app_meta_data, raw_user_meta_data, invited_at)
        values (%s, 'authenticated', %s, %s, %s, case when %s then now() end, %s, %s,
                case when %s then now() end)
        returning *
        """,
        [
            new_id,
            role or "authenticated",
            email,
            encrypted_password,
            confirmed,
            Jsonb(APP_METADATA | dict(app_metadata or {})),
            Jsonb(dict(user_metadata)),
            invited,
        ],
    )
    row = await cursor.fetchone()
    assert row
    if by_email:
        data = identity_data(new_id, email, verified=confirmed)
        await add_identity(connection, new_id, "email", str(new_id), data)
    return _user(row)


async def add_identity(
    connection: Connection, user_id: UUID, provider: str, subject: str, data: Mapping[str, Any]
) -> None:
    """Raises psycopg's `UniqueViolation` when that subject of the provider is known already."""
    await connection.execute(
        """
        insert into auth.identities (provider_id, user_id, identity_data, provider, last_sign_in_at)
        values (%s, %s, %s, %s, now())
        """,
        [subject, user_id, Jsonb(dict(data)), provider],
    )


async def list_providers(connection: Connection, user_id: UUID) -> None:
    """Brings `app_metadata` in step with the identities; the oldest one names the provider."""
    cursor = await connection.execute(
        "select provider from auth.identities where user_id = %s"
        " group by provider order by min(created_at), provider",
        [user_id],
    )
    names = [row["provider"] for row in await cursor.fetchall()]
    await connection.execute(
        "update auth.users set updated_at = now(),"
        " raw_app_meta_data = coalesce(raw_app_meta_data, '{}') || %s where id = %s",
        [Jsonb({"provider": names[0], "providers": names} if names else {}), user_id],
    )


def identity_data(user_id: UUID, email: str, *, verified: bool) -> dict[str, Any]:
    return {
        "sub": str(user_id),
        "email": email,
        "email_verified": verified,
        "phone_verified": False,
    }


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    """Old metadata with the new on top; a key given as null is removed."""
    both = {**(old or {}), **(new or {})}
    return {key: value for key, value in both.items() if value is not None}


async def set_metadata(
    connection: Connection,
    user: User,
    *,
    user_metadata: Mapping[str, Any] | None = None,
    app_metadata: Mapping[str, Any] | None = None,
) -> None:
    await connection.execute(
        "update auth.users set raw_user_meta_data = %s, raw_app_meta_data = %s, updated_at = now()"
        " where id = %s",
        [
            Jsonb(merged(user.raw_user_meta_data, user_metadata)),
            Jsonb(merged(user.raw_app_meta_data, app_metadata)),
            user.id,
        ],
    )


async def set_password(connection: Connection, user_id: UUID, encrypted_password: str) -> None:
    await connection.execute(
        "update auth.users set encrypted_password = %s, updated_at = now() where id = %s",
        [encrypted_password, user_id],
    )


async def set_role(connection: Connection, user_id: UUID, role: str) -> None:
    await connection.execute(
        "update auth.users set role = %s, updated_at = now() where id = %s", [role, user_id]
    )


async def set_ban(connection: Connection, user_id: UUID, until: datetime | None) -> None:
    await connection.execute(
        "update auth.users set banned_until = %s, updated_at = now() where id = %s",
        [until, user_id],
    )


async def confirm(connection: Connection, user_id: UUID) -> None:
    """Marks the address as belonging to the user; harmless when it already is."""
    await connection.execute(
        """
        update auth.users set email_confirmed_at = coalesce(email_confirmed_at, now()),
          raw_user_meta_data = coalesce(raw_user_meta_data, '{}') || '{"email_verified": true}',
          updated_at = now()
        where id = %s
        """,
        [user_id],
    )
    await connection.execute(
        "update auth.identities set updated_at = now(),"
        """ identity_data = identity_data || '{"email_verified": true}'"""
        " where user_id = %s and provider = 'email'",
        [user_id],
    )


async def set_email(connection: Connection, user_id: UUID, email: str) -> None:
    """A confirmed new address. Raises psycopg's `UniqueViolation` when it is taken.

    Links sent to the old address no longer prove anything.
    """
    await connection.execute("delete from auth.one_time_tokens where user_id = %s", [user_id])
    data = Jsonb({"email": email})
    await connection.execute(
        """
        update auth.users set email = %s, email_change = null, updated_at = now(),
          email_change_confirm_status = 0,
          raw_user_meta_data = coalesce(raw_user_meta_data, '{}') || %s
        where id = %s
        """,
        [email, data, user_id],
    )
    await connection.execute(
        "update auth.identities set identity_data = identity_data || %s, updated_at = now()"
        " where user_id = %s and provider = 'email'",
        [data, user_id],
    )
    await confirm(connection, user_id)


async def announce_email_change(connection: Connection, user: User, email: str) -> None:
    """The change is not confirmed yet. Links sent for an earlier new address become invalid."""
    if user.email_change != email:
        await connection.execute(
            "delete from auth.one_time_tokens where user_id = %s and purpose like 'email_change_%%'",
            [user.id],
        )
    await connection.execute(
        "update auth.users set email_change = %s, email_change_confirm_status = 0,"
        " updated_at = now() where id = %s",
        [email, user.id],
    )


async def half_confirm_email_change(connection: Connection, user_id: UUID) -> None:
    await connection.execute(
        "update auth.users set email_change_confirm_status = 1, updated_at = now() where id = %s",
        [user_id],
    )


async def touch_sign_in(connection: Connection, user_id: UUID) -> User:
    cursor = await connection.execute(
        "update auth.users set last_sign_in_at = now(), updated_at = now() where id = %s"
        " returning *",
        [user_id],
    )
    row = await cursor.fetchone()
    assert row
    await connection.execute(
        "update auth.identities set last_sign_in_at = now() where user_id = %s", [user_id]
    )
    return _user(row)


async def delete(connection: Connection, user_id: UUID) -> None:
    await connection.execute("delete from auth.users where id = %s", [user_id])


async def delete_softly(connection: Connection, user_id: UUID) -> None:
    """Keeps the row and its id; the person is gone from it and the address is free again."""
    await connection.execute("delete from auth.identities where user_id = %s", [user_id])
    await connection.execute("delete from auth.one_time_tokens where user_id = %s", [user_id])
    await connection.execute("delete from auth.mfa_factors where user_id = %s", [user_id])
    await connection.execute(
        """
        update auth.users set deleted_at = coalesce(deleted_at, now()), updated_at = now(),
          email = encode(sha256(convert_to(id::text || coalesce(email, ''), 'UTF8')), 'hex'),
          encrypted_password = null, phone = null, email_change = null,
          email_change_confirm_status = 0,
          raw_user_meta_data = '{}', raw_app_meta_data = '{}'
        where id = %s
        """,
        [user_id],
    )


def instant(value: datetime | None) -> str | None:
    """RFC 3339, in UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None


async def shown(connection: Connection, *users: User) -> list[dict[str, Any]]:
    """The users as the API shows them, with their identities and second factors."""
    cursor = await connection.execute(
        "select * from auth.identities where user_id = any(%s) order by created_at",
        [[user.id for user in users]],
    )
    identities: dict[UUID, list[dict[str, Any]]] = {}
    for row in await cursor.fetchall():
        identities.setdefault(row["user_id"], []).append(_identity_json(row))
    factors: dict[UUID, list[dict[str, Any]]] = {}
    for row in await factor_rows(connection, *(user.id for user in users)):
        factors.setdefault(row["user_id"], []).append(factor_json(row))
    return [
        user_json(user, identities.get(user.id, []), factors.get(user.id, [])) for user in users
    ]


async def reload_shown(connection: Connection, user_id: UUID) -> dict[str, Any]:
    user = await by_id(connection, user_id)
    assert user
    return (await shown(connection, user))[0]


def _identity_json(row: Row) -> dict[str, Any]:
    return {
        "identity_id": str(row["id"]),
        "id": row["provider_id"],
        "user_id": str(row["user_id"]),
        "identity_data": row["identity_data"],
        "provider": row["provider"],
        "last_sign_in_at": instant(row["last_sign_in_at"]),
        "created_at": instant(row["created_at"]),
        "updated_at": instant(row["updated_at"]),
        "email": row["identity_data"].get("email"),
    }


async def factor_rows(connection: Connection, *user_ids: UUID) -> list[Row]:
    """The second factors of these users, oldest first."""
    cursor = await connection.execute(
        "select * from auth.mfa_factors where user_id = any(%s) order by created_at, id",
        [list(user_ids)],
    )
    return await cursor.fetchall()


def factor_json(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "friendly_name": row["friendly_name"],
        "factor_type": "totp",
        "status": row["status"],
        "created_at": instant(row["created_at"]),
        "updated_at": instant(row["updated_at"]),
    }


def user_json(
    user: User, identities: list[dict[str, Any]], factors: list[dict[str, Any]]
) -> dict[str, Any]:
    always = {
        "id": str(user.id),
        "aud": user.aud or "authenticated",
        "role": user.role or "authenticated",
        "email": user.email or "",
        "phone": user.phone or "",
        "app_metadata": user.raw_app_meta_data or {},
        "user_metadata": user.raw_user_meta_data or {},
        "identities": identities,
        "created_at": instant(user.created_at or datetime.fromtimestamp(0, UTC)),
        "updated_at": instant(user.updated_at),
        "is_anonymous": user.is_anonymous,
    }
    when_set = {
        "email_confirmed_at": instant(user.email_confirmed_at),
        "confirmed_at": instant(user.email_confirmed_at),
        "confirmation_sent_at": instant(user.confirmation_sent_at),
        "recovery_sent_at": instant(user.recovery_sent_at),
        "email_change_sent_at": instant(user.email_change_sent_at),
        "reauthentication_sent_at": instant(user.reauthentication_sent_at),
        "new_email": user.email_change,
        "invited_at": instant(user.invited_at),
        "last_sign_in_at": instant(user.last_sign_in_at),
        "banned_until": instant(user.banned_until),
        "deleted_at": instant(user.deleted_at),
    }
    shown = always | {key: value for key, value in when_set.items() if value is not None}
    return shown | ({"factors": factors} if factors else {})
