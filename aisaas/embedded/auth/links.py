"""Signing in by mail: asking for a link or code, and redeeming it."""

import uuid
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from psycopg.errors import UniqueViolation
from starlette.responses import JSONResponse, RedirectResponse, Response

from aisaas.embedded.auth import mail, one_time, sessions, users
from aisaas.embedded.auth.account import mail_confirmation, phones_refused
from aisaas.embedded.auth.call import Body, Call
from aisaas.embedded.auth.database import Connection
from aisaas.embedded.auth.errors import EMAIL_EXISTS, USER_BANNED, AuthError, invalid
from aisaas.embedded.auth.one_time import Challenge, Redeemed
from aisaas.embedded.auth.services import Services
from aisaas.embedded.auth.users import User


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
    return JSONResponse({})


async def one_time_password(services: Services, call: Call) -> Response:
    """A link or code to sign in with; makes the account unless told not to."""
    body = await call.read(Ask)
    if body.phone and not body.email:
        raise phones_refused("Unsupported phone provider")
    email = users.clean_email(body.email)
    challenge = one_time.read_challenge(body.code_challenge, body.code_challenge_method)
    async with services.database.transaction() as connection:
        user = await users.by_email(connection, email, lock=True)
        if user is None:
            if body.create_user is False:
                raise AuthError(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "otp_disabled",
                    "Signups not allowed for otp",
                )
            user_id = uuid.uuid4()
            metadata = users.identity_data(user_id, email, verified=False)
            user = await users.create(
                connection,
                user_id=user_id,
                email=email,
                encrypted_password=None,
                confirmed=False,
                user_metadata={**(body.data or {}), **metadata},
            )
        await _mail_link(services, call, connection, user, kind="magiclink", challenge=challenge)
    return JSONResponse({})


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
            await mail_confirmation(services, connection, user, call.redirect_to, None)
        elif user and body.type == "email_change" and user.email_change:
            await _mail_link(services, call, connection, user, kind="email_change", challenge=None)
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
    to = (user.email_change if kind == "email_change" else user.email) or ""
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
        redirect_to=call.redirect_to,
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
            redeemed = await one_time.redeem_code(connection, body.type, email, body.token or "")
        session = (
            await _accept(services, call, connection, redeemed) if redeemed is not None else None
        )
    # Raised outside, so that the wrong guess is counted.
    if session is None:
        raise one_time.expired()
    return JSONResponse(session, headers={"cache-control": "no-store"})


async def follow_link(services: Services, call: Call) -> Response:
    """The link of a mail, opened in a browser: on to the site, with a session or a code for one."""
    kind = call.query("type")
    target = call.redirect_to
    try:
        async with services.database.transaction() as connection:
            redeemed = await one_time.redeem_link(connection, kind, call.query("token"))
            if redeemed is None:
                return _failed(target, "otp_expired", "Email link is invalid or has expired")
            if redeemed.challenge:
                await _prove(connection, redeemed)
                code = await one_time.begin_flow(
                    connection, redeemed.user_id, redeemed.challenge, kind
                )
                return _redirect(target, query={"code": code})
            session = await _accept(services, call, connection, redeemed)
    except AuthError as error:
        return _failed(target, error.code, error.message)
    parts = ("access_token", "expires_at", "expires_in", "refresh_token", "token_type")
    return _redirect(target, fragment={**{part: session[part] for part in parts}, "type": kind})


def _failed(target: str, code: str, message: str) -> RedirectResponse:
    why = {"error": "access_denied", "error_code": code, "error_description": message}
    return _redirect(target, query=why, fragment=why)


def _redirect(
    target: str,
    *,
    query: dict[str, Any] | None = None,
    fragment: dict[str, Any] | None = None,
) -> RedirectResponse:
    parts = urlsplit(target)
    joined = "&".join(filter(None, (parts.query, urlencode(query or {}))))
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, joined, urlencode(fragment or {})))
    headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
    return RedirectResponse(url, status_code=HTTPStatus.SEE_OTHER, headers=headers)


async def _prove(connection: Connection, redeemed: Redeemed) -> None:
    """What having read the mail proves. Raises `AuthError` for a banned user or a taken address."""
    user = await users.by_id(connection, redeemed.user_id, lock=True)
    if user is None:
        raise one_time.expired()
    if user.banned:
        raise AuthError(HTTPStatus.FORBIDDEN, *USER_BANNED)
    if redeemed.purpose != "email_change":
        await users.confirm(connection, user.id)
        return
    try:
        async with connection.transaction():
            await users.set_email(connection, user.id, redeemed.relates_to)
    except UniqueViolation as error:
        raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS) from error


async def _accept(
    services: Services, call: Call, connection: Connection, redeemed: Redeemed
) -> dict[str, Any]:
    await _prove(connection, redeemed)
    return await sessions.open_session(
        services, connection, redeemed.user_id, method="otp", user_agent=call.user_agent
    )
