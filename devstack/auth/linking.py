"""Decides, as Supabase does, which account a provider's profile belongs to.

Invariant: only an address which the provider has verified leads to an existing account; and what an
account held before its address was verified (a password, other identities, data) doesn't outlive
the verification, since another person may have put it there.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from devstack.auth import users
from devstack.auth.account import mail_confirmation
from devstack.auth.database import Connection
from devstack.auth.errors import SIGNUP_DISABLED, USER_BANNED, AuthError
from devstack.auth.services import Services
from devstack.auth.users import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider says about the person who has just signed in there."""

    provider: str
    issuer: str
    subject: str
    email: str
    email_verified: bool
    full_name: str

    @property
    def data(self) -> dict[str, Any]:
        named = {"full_name": self.full_name, "name": self.full_name} if self.full_name else {}
        return {
            "iss": self.issuer,
            "sub": self.subject,
            "provider_id": self.subject,
            "email": self.email,
            "email_verified": self.email_verified,
            "phone_verified": False,
            **named,
        }


async def account_for(
    services: Services, connection: Connection, profile: Profile
) -> User | AuthError:
    """The user to sign in. A refusal is returned, not raised, when there is work to commit first.

    Raises `AuthError` 422 signup_disabled or 403 user_banned.
    """
    trusted = profile.email_verified or services.config.autoconfirm
    # Consents with one address come one after the other: the second finds what the first made.
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"consent {profile.email}"]
    )
    known = await _known(connection, profile)
    user_id = known or (await _owner(connection, profile.email) if trusted else None)
    if user_id is None:
        if services.config.disable_signup:
            raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *SIGNUP_DISABLED)
        if await users.by_email(connection, profile.email):
            return _unverified(profile, mailed=False)
        user_id = await _create(connection, profile)
    # Lock the user first, then the identities, the same order as opening a session.
    user = await users.by_id(connection, user_id, lock=True)
    assert user
    if user.banned:
        raise AuthError(HTTPStatus.FORBIDDEN, *USER_BANNED)
    if known:
        await _bring_up_to_date(connection, profile)
    else:
        await users.add_identity(
            connection, user_id, profile.provider, profile.subject, profile.data
        )
    if user.confirmed:
        await users.set_metadata(connection, user, user_metadata=profile.data)
    else:
        await _keep_only(connection, user, profile)
    await users.list_providers(connection, user_id)
    if not user.confirmed:
        if not trusted:
            await mail_confirmation(services, connection, user, None, None)
            return _unverified(profile, mailed=True)
        await users.confirm(connection, user_id)
    return user


async def _known(connection: Connection, profile: Profile) -> UUID | None:
    cursor = await connection.execute(
        "select user_id from auth.identities where provider = %s and provider_id = %s",
        [profile.provider, profile.subject],
    )
    row = await cursor.fetchone()
    return row["user_id"] if row else None


async def _bring_up_to_date(connection: Connection, profile: Profile) -> None:
    await connection.execute(
        "update auth.identities set identity_data = %s, last_sign_in_at = now(), updated_at = now()"
        " where provider = %s and provider_id = %s",
        [Jsonb(profile.data), profile.provider, profile.subject],
    )


async def _owner(connection: Connection, email: str) -> UUID | None:
    """Whose address it is: by any identity with it, else by the account itself."""
    cursor = await connection.execute(
        "select distinct user_id from auth.identities where lower(identity_data->>'email') = %s",
        [email],
    )
    owners = [row["user_id"] for row in await cursor.fetchall()]
    if len(owners) > 1:
        raise AuthError(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "unexpected_failure",
            "Multiple accounts with the same email address in the same linking domain detected",
        )
    if owners:
        return owners[0]
    user = await users.by_email(connection, email)
    return user.id if user else None


async def _create(connection: Connection, profile: Profile) -> UUID:
    user = await users.create(
        connection,
        email=profile.email,
        encrypted_password=None,
        confirmed=False,
        user_metadata=profile.data,
        by_email=False,
    )
    return user.id


async def _keep_only(connection: Connection, user: User, profile: Profile) -> None:
    await connection.execute(
        "delete from auth.identities where user_id = %s and (provider, provider_id) <> (%s, %s)",
        [user.id, profile.provider, profile.subject],
    )
    await connection.execute("delete from auth.one_time_tokens where user_id = %s", [user.id])
    await connection.execute(
        "update auth.users set encrypted_password = null, raw_user_meta_data = %s,"
        " email_change = null, updated_at = now() where id = %s",
        [Jsonb(profile.data), user.id],
    )


def _unverified(profile: Profile, *, mailed: bool) -> AuthError:
    name = profile.provider
    what_now = (
        f"A confirmation email has been sent to your {name} email"
        if mailed
        else f"Verify the email with {name} in order to sign in"
    )
    return AuthError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "provider_email_needs_verification",
        f"Unverified email with {name}. {what_now}",
    )
