"""A person's own account: signing up, looking at it, changing it, signing out."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from psycopg.errors import UniqueViolation
from starlette.responses import JSONResponse, Response

from devstack.auth import email_change, factors, mail, one_time, sessions, users
from devstack.auth.call import Body, Call, SignedIn
from devstack.auth.database import Connection
from devstack.auth.errors import (
    EMAIL_EXISTS,
    SIGNUP_DISABLED,
    USER_NOT_FOUND,
    AuthError,
    invalid,
)
from devstack.auth.one_time import Challenge
from devstack.auth.passwords import check_new_password
from devstack.auth.services import Services
from devstack.auth.users import User

SCOPES = ("global", "local", "others")
# As on hosted: who signed in within this time may change the password without a code.
RECENT = timedelta(days=1)


class SignUp(Body):
    email: str | None = None
    phone: str | None = None
    password: str | None = None
    data: dict[str, Any] | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None


class Changes(Body):
    email: str | None = None
    phone: str | None = None
    password: str | None = None
    nonce: str | None = None
    data: dict[str, Any] | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None


async def sign_up(services: Services, call: Call) -> Response:
    body = await call.read(SignUp)
    check_open(services)
    if not body.email and not body.phone:
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "anonymous_provider_disabled",
            "Anonymous sign-ins are disabled",
        )
    if not body.email:
        raise phones_refused("Phone signups are disabled")
    email = users.clean_email(body.email)
    challenge = one_time.read_challenge(body.code_challenge, body.code_challenge_method)
    if not body.password:
        raise invalid("Signup requires a valid password")
    check_new_password(body.password, minimum=services.config.password_minimum)
    encrypted = await services.passwords.hash(body.password)
    try:
        async with services.database.transaction() as connection:
            if (known := await users.by_email(connection, email, lock=True)) is not None:
                return await _sign_up_again(
                    services, call, connection, known, data=body.data or {}, challenge=challenge
                )
            user_id = uuid.uuid4()
            confirmed = services.config.autoconfirm
            user = await users.create(
                connection,
                user_id=user_id,
                email=email,
                encrypted_password=encrypted,
                confirmed=confirmed,
                user_metadata=_own_metadata(user_id, email, body.data or {}, verified=confirmed),
            )
            if confirmed:
                return JSONResponse(
                    await sessions.open_session(
                        services,
                        connection,
                        user.id,
                        method="password",
                        user_agent=call.user_agent,
                    )
                )
            await mail_confirmation(services, connection, user, call.wanted_redirect, challenge)
            return JSONResponse(await users.reload_shown(connection, user.id))
    except UniqueViolation as error:
        # Another user signed up with this address since we checked.
        if error.diag.constraint_name != users.EMAIL_INDEX:
            raise
        if services.config.autoconfirm:
            raise _already_registered() from error
        return JSONResponse(_made_up(email, body.data or {}))


async def _sign_up_again(
    services: Services,
    call: Call,
    connection: Connection,
    known: User,
    *,
    data: Mapping[str, Any],
    challenge: Challenge | None,
) -> Response:
    """The address is taken. Neither its password nor its data are touched."""
    if services.config.autoconfirm:
        raise _already_registered()
    if known.confirmed:
        return JSONResponse(_made_up(known.email or "", data))
    await mail_confirmation(services, connection, known, call.wanted_redirect, challenge)
    return JSONResponse(await users.reload_shown(connection, known.id))


async def mail_confirmation(
    services: Services,
    connection: Connection,
    user: User,
    redirect_to: str | None,
    challenge: Challenge | None,
) -> None:
    email = user.email or ""
    issued = await one_time.issue(
        connection,
        user,
        "confirmation",
        relates_to=email,
        challenge=challenge,
        interval=services.config.mail_interval,
    )
    await mail.send(
        connection, services.config, to=email, kind="signup", issued=issued, redirect_to=redirect_to
    )


def check_open(services: Services) -> None:
    """Raises `AuthError` 422 when sign-up is disabled; invitations skip this check."""
    if services.config.disable_signup:
        raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *SIGNUP_DISABLED)


def _already_registered() -> AuthError:
    return AuthError(
        HTTPStatus.UNPROCESSABLE_ENTITY, "user_already_exists", "User already registered"
    )


def phones_refused(message: str) -> AuthError:
    return AuthError(HTTPStatus.BAD_REQUEST, "phone_provider_disabled", message)


def _own_metadata(
    user_id: UUID, email: str, data: Mapping[str, Any], *, verified: bool
) -> dict[str, Any]:
    return {**data, **users.identity_data(user_id, email, verified=verified)}


def _made_up(email: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Looks like a new account, so that the answer doesn't reveal who has one."""
    now = datetime.now(UTC)
    user_id = uuid.uuid4()
    user = User(
        id=user_id,
        aud="authenticated",
        role="authenticated",
        email=email,
        encrypted_password=None,
        email_confirmed_at=None,
        invited_at=None,
        confirmation_sent_at=now,
        recovery_sent_at=None,
        email_change=None,
        email_change_sent_at=None,
        email_change_confirm_status=0,
        reauthentication_sent_at=None,
        last_sign_in_at=None,
        raw_app_meta_data=users.APP_METADATA,
        raw_user_meta_data=_own_metadata(user_id, email, data, verified=False),
        phone=None,
        banned_until=None,
        deleted_at=None,
        is_anonymous=False,
        is_sso_user=False,
        created_at=now,
        updated_at=now,
    )
    return users.user_json(user, [], [])


async def show(services: Services, call: Call) -> Response:
    caller = await call.signed_in()
    async with services.database.transaction() as connection:
        return JSONResponse((await users.shown(connection, caller.user))[0])


async def change(services: Services, call: Call) -> Response:
    """Password, address and metadata. A new password ends the user's other sessions."""
    caller = await call.signed_in()
    body = await call.read(Changes)
    if body.phone:
        raise phones_refused("Phone numbers can't be changed here")
    email = users.clean_email(body.email) if body.email else None
    challenge = one_time.read_challenge(body.code_challenge, body.code_challenge_method)
    if body.password is not None or (email and email != caller.user.email):
        async with services.database.transaction() as connection:
            await factors.check_level(connection, caller)
    encrypted = await _changed_password(services, caller, body)
    try:
        async with services.database.transaction() as connection:
            user = await users.by_id(connection, caller.user.id, lock=True)
            if user is None:
                raise AuthError(HTTPStatus.FORBIDDEN, *USER_NOT_FOUND)
            if encrypted:
                await users.set_password(connection, user.id, encrypted)
                await sessions.end(connection, user.id, but=caller.session.id)
            if body.data:
                await users.set_metadata(connection, user, user_metadata=body.data)
            if email and email != user.email:
                await _change_email(
                    services, call, connection, user, email=email, challenge=challenge
                )
            return JSONResponse(await users.reload_shown(connection, user.id))
    except UniqueViolation as error:
        if error.diag.constraint_name != users.EMAIL_INDEX:
            raise
        raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS) from error


async def reauthenticate(services: Services, call: Call) -> Response:
    """Mails a code that lets an older session change the password."""
    caller = await call.signed_in()
    async with services.database.transaction() as connection:
        user = await users.by_id(connection, caller.user.id, lock=True)
        if user is None:
            raise AuthError(HTTPStatus.FORBIDDEN, *USER_NOT_FOUND)
        email = user.email or ""
        issued = await one_time.issue(
            connection,
            user,
            "reauthentication",
            relates_to=email,
            interval=services.config.mail_interval,
        )
        await mail.send_code(connection, to=email, kind="reauthentication", code=issued.code)
    return JSONResponse({})


async def _changed_password(services: Services, caller: SignedIn, body: Changes) -> str | None:
    user, password = caller.user, body.password
    if password is None:
        return None
    check_new_password(password, minimum=services.config.password_minimum)
    # Checked first, so that the token of an old session can't be used to guess the password.
    await _check_nonce(services, caller, body.nonce)
    if await services.passwords.verify(user.encrypted_password, password):
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "same_password",
            "New password should be different from the old password.",
        )
    return await services.passwords.hash(password)


async def _check_nonce(services: Services, caller: SignedIn, nonce: str | None) -> None:
    """Raises `AuthError` 400 reauthentication_needed or 422 reauthentication_not_valid."""
    recent = datetime.now(UTC) - caller.session.created_at < RECENT
    if recent or not services.config.secure_password_change:
        return
    if not nonce:
        raise AuthError(
            HTTPStatus.BAD_REQUEST,
            "reauthentication_needed",
            "Password update requires reauthentication",
        )
    async with services.database.transaction() as connection:
        redeemed = await one_time.redeem_code(
            connection, ("reauthentication",), caller.user.email or "", nonce
        )
    # Raised outside, so that the wrong guess is counted.
    if redeemed is None:
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "reauthentication_not_valid",
            "Nonce has expired or is invalid",
        )


async def _change_email(
    services: Services,
    call: Call,
    connection: Connection,
    user: User,
    *,
    email: str,
    challenge: Challenge | None,
) -> None:
    if await users.by_email(connection, email):
        raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS)
    if services.config.autoconfirm:
        await users.set_email(connection, user.id, email)
        return
    await email_change.begin(
        services,
        connection,
        user,
        email=email,
        redirect_to=call.wanted_redirect,
        challenge=challenge,
    )


async def sign_out(services: Services, call: Call) -> Response:
    scope = call.query("scope") or "global"
    if scope not in SCOPES:
        raise invalid(f"Unsupported logout scope {scope!r}")
    caller = await call.signed_in()
    async with services.database.transaction() as connection:
        await sessions.end(
            connection,
            caller.user.id,
            only=caller.session.id if scope == "local" else None,
            but=caller.session.id if scope == "others" else None,
        )
    return Response(status_code=HTTPStatus.NO_CONTENT)
