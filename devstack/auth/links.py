"""Signing in by mail: asking for a link or code, and redeeming it."""

import uuid
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from psycopg.errors import UniqueViolation
from starlette.responses import JSONResponse, Response

from devstack.auth import email_change, mail, one_time, redirects, sessions, users
from devstack.auth.account import check_open, mail_confirmation, phones_refused
from devstack.auth.call import Body, Call
from devstack.auth.database import Connection
from devstack.auth.errors import USER_BANNED, AuthError, invalid
from devstack.auth.one_time import Challenge, Redeemed
from devstack.auth.services import Services
from devstack.auth.users import User


class Ask(Body):
    email: str | None = None
    phone: str | None = None
    type: str | None = None
    data: dict[str, Any] | None = None
    create_user: bool | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None


class Verify(Body):
    type: str | None = None
    email: str | None = None
    phone: str | None = None
    token: str | None = None
    token_hash: str | None = None


async def recover(services: Services, call: Call) -> Response:
    """Always the same answer, whether or not the address is known."""
    body = await call.read(Ask)
    email = users.clean_email(body.email)
    challenge = one_time.read_challenge(body.code_challenge, body.code_challenge_method)
    async with services.database.transaction() as connection:
        user = await users.by_email(connection, email, lock=True)
        if user:
            await _mail_link(services, call, connection, user, kind="recovery", challenge=challenge)
        else:
            await _work_for_nobody(services, call, connection, email)
    return JSONResponse({})


async def _work_for_nobody(
    services: Services, call: Call, connection: Connection, email: str
) -> None:
    """As much as a mail takes, and then undone, so that the time taken tells nothing either."""
    # Answer the same even if another user signs up with this address meanwhile.
    with suppress(UniqueViolation):
        await _work_and_undo(services, call, connection, email)


async def _work_and_undo(
    services: Services, call: Call, connection: Connection, email: str
) -> None:
    async with connection.transaction(force_rollback=True):
        nobody = await users.create(
            connection, email=email, encrypted_password=None, confirmed=False, user_metadata={}
        )
        await _mail_link(services, call, connection, nobody, kind="recovery", challenge=None)


async def one_time_password(services: Services, call: Call) -> Response:
    """A link or code to sign in with; creates the account unless the request forbids it."""
    body = await call.read(Ask)
    if body.phone and not body.email:
        raise phones_refused("Unsupported phone provider")
    email = users.clean_email(body.email)
    challenge = one_time.read_challenge(body.code_challenge, body.code_challenge_method)
    try:
        await _send_one_time_password(services, call, body, email, challenge)
    except UniqueViolation as error:
        if error.diag.constraint_name != users.EMAIL_INDEX:
            raise
        # The account was created since we checked, so it can get the email now.
        await _send_one_time_password(services, call, body, email, challenge)
    return JSONResponse({})


async def _send_one_time_password(
    services: Services, call: Call, body: Ask, email: str, challenge: Challenge | None
) -> None:
    async with services.database.transaction() as connection:
        user = await users.by_email(connection, email, lock=True)
        if user is None:
            if body.create_user is False:
                raise AuthError(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "otp_disabled",
                    "Signups not allowed for otp",
                )
            check_open(services)
            user_id, confirmed = uuid.uuid4(), services.config.autoconfirm
            metadata = users.identity_data(user_id, email, verified=confirmed)
            user = await users.create(
                connection,
                user_id=user_id,
                email=email,
                encrypted_password=None,
                confirmed=confirmed,
                user_metadata={**(body.data or {}), **metadata},
            )
        if user.confirmed or services.config.autoconfirm:
            await _mail_link(
                services, call, connection, user, kind="magiclink", challenge=challenge
            )
        else:
            # A user who hasn't finished signing up gets the confirmation, as on hosted; its link
            # also signs them in.
            check_open(services)
            await mail_confirmation(services, connection, user, call.wanted_redirect, challenge)


async def resend(services: Services, call: Call) -> Response:
    body = await call.read(Ask)
    if body.phone and not body.email:
        raise phones_refused("Unsupported phone provider")
    email = users.clean_email(body.email)
    if body.type not in ("signup", "email_change"):
        raise invalid("Missing one of these types: signup, email_change, sms, phone_change")
    async with services.database.transaction() as connection:
        user = await users.by_email(connection, email, lock=True)
        if user and body.type == "signup" and not user.confirmed:
            await mail_confirmation(services, connection, user, call.wanted_redirect, None)
        elif user and body.type == "email_change" and user.email_change:
            await email_change.begin(
                services,
                connection,
                user,
                email=user.email_change,
                redirect_to=call.wanted_redirect,
                challenge=None,
            )
        elif user is None:
            await _work_for_nobody(services, call, connection, email)
    return JSONResponse({})


async def _mail_link(
    services: Services,
    call: Call,
    connection: Connection,
    user: User,
    *,
    kind: str,
    challenge: Challenge | None,
) -> None:
    to = user.email or ""
    issued = await one_time.issue(
        connection,
        user,
        one_time.PURPOSES[kind][0],
        relates_to=to,
        challenge=challenge,
        interval=services.config.mail_interval,
    )
    await mail.send(
        connection,
        services.config,
        to=to,
        kind=kind,
        issued=issued,
        redirect_to=call.wanted_redirect,
    )


async def verify(services: Services, call: Call) -> Response:
    """A link's hash, or an address and the code sent to it, becomes a session."""
    body = await call.read(Verify)
    if body.type not in one_time.PURPOSES:
        raise invalid("Verify requires a verification type")
    if body.token_hash:
        if body.email or body.phone:
            raise invalid("Only the token_hash and type should be provided")
    elif not body.token:
        raise invalid("Verify requires a token or a token hash")
    email = None if body.token_hash else users.clean_email(body.email)
    async with services.database.transaction() as connection:
        if email is None:
            redeemed = await one_time.redeem_link(connection, body.type, body.token_hash or "")
        else:
            redeemed = await one_time.redeem_code(
                connection, one_time.PURPOSES[body.type], email, body.token or ""
            )
        done = redeemed is not None and await _prove(services, connection, redeemed)
        session = await _open(services, call, connection, redeemed) if done and redeemed else None
    # Raised outside, so that the wrong guess is counted.
    if redeemed is None:
        raise one_time.expired()
    if session is None:
        return JSONResponse({"code": str(int(HTTPStatus.OK)), "msg": email_change.HALF_DONE})
    return JSONResponse(session, headers={"cache-control": "no-store"})


async def follow_link(services: Services, call: Call) -> Response:
    """The link of a mail, opened in a browser: on to the site, with a session or a code for one."""
    kind = call.query("type")
    target = call.redirect_to
    try:
        async with services.database.transaction() as connection:
            redeemed = await one_time.redeem_link(connection, kind, call.query("token"))
            if redeemed is None:
                return redirects.failed(
                    target, "otp_expired", "Email link is invalid or has expired"
                )
            if not await _prove(services, connection, redeemed):
                message = {"message": email_change.HALF_DONE}
                return redirects.to(
                    target, query=message if redeemed.challenge else None, fragment=message
                )
            if redeemed.challenge:
                code = await one_time.begin_flow(
                    connection, redeemed.user_id, redeemed.challenge, kind
                )
                return redirects.to(target, query={"code": code})
            session = await _open(services, call, connection, redeemed)
    except AuthError as error:
        return redirects.failed(target, error.code, error.message)
    return redirects.with_session(target, session, type=kind)


async def _prove(services: Services, connection: Connection, redeemed: Redeemed) -> bool:
    """Whether having read the mail is enough. It isn't for the first of two of an email change.

    Raises `AuthError` for a banned user or a taken address.
    """
    user = await users.by_id(connection, redeemed.user_id, lock=True)
    if user is None:
        raise one_time.expired()
    if user.banned:
        raise AuthError(HTTPStatus.FORBIDDEN, *USER_BANNED)
    if redeemed.purpose in one_time.PURPOSES["email_change"]:
        return await email_change.confirm(services, connection, user, redeemed)
    await users.confirm(connection, user.id)
    return True


async def _open(
    services: Services, call: Call, connection: Connection, redeemed: Redeemed
) -> dict[str, Any]:
    return await sessions.open_session(
        services, connection, redeemed.user_id, method="otp", user_agent=call.user_agent
    )
