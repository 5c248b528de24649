"""What only the project's secret key may do."""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from psycopg.errors import UniqueViolation
from starlette.responses import JSONResponse, Response

from devstack.auth import factors, mail, one_time, sessions, users
from devstack.auth.call import Body, Call
from devstack.auth.database import Connection
from devstack.auth.errors import EMAIL_EXISTS, USER_NOT_FOUND, AuthError, invalid
from devstack.auth.one_time import Purpose
from devstack.auth.passwords import check_foreign_hash, check_new_password
from devstack.auth.services import Services
from devstack.auth.users import User

PER_PAGE = 50
MOST_PER_PAGE = 1000
SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
PASSWORD_KINDS = ("signup",)
# How a link of each kind is redeemed, and what it proves.
LINK_KINDS: dict[str, tuple[str, Purpose]] = {
    "signup": ("signup", "confirmation"),
    "invite": ("invite", "confirmation"),
    "magiclink": ("magiclink", "recovery"),
    "recovery": ("recovery", "recovery"),
    "email_change_new": ("email_change", "email_change_new"),
    "email_change_current": ("email_change", "email_change_current"),
}


class Attributes(Body):
    id: str | None = None
    email: str | None = None
    password: str | None = None
    password_hash: str | None = None
    email_confirm: bool | None = None
    user_metadata: dict[str, Any] | None = None
    app_metadata: dict[str, Any] | None = None
    ban_duration: str | None = None
    role: str | None = None


class Deletion(Body):
    should_soft_delete: bool | None = None


class Link(Body):
    type: str | None = None
    email: str | None = None
    new_email: str | None = None
    password: str | None = None
    data: dict[str, Any] | None = None


async def list_users(services: Services, call: Call) -> Response:
    call.check_admin()
    page = _count(call, "page", 1)
    per_page = min(_count(call, "per_page", PER_PAGE), MOST_PER_PAGE)
    async with services.database.transaction() as connection:
        found, total = await users.page(connection, offset=(page - 1) * per_page, limit=per_page)
        shown = await users.shown(connection, *found)
    last = max(1, -(-total // per_page))
    base = f"{services.config.issuer}/admin/users?per_page={per_page}&page="
    links = [f'<{base}{last}>; rel="last"']
    if page < last:
        links.insert(0, f'<{base}{page + 1}>; rel="next"')
    return JSONResponse(
        {"users": shown, "aud": "authenticated"},
        headers={"x-total-count": str(total), "link": ", ".join(links)},
    )


def _count(call: Call, name: str, default: int) -> int:
    text = call.query(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise invalid(f"Bad Pagination Parameters: {name}")
    return int(text)


async def show_user(services: Services, call: Call) -> Response:
    call.check_admin()
    async with services.database.transaction() as connection:
        user = await _named(connection, call)
        return JSONResponse((await users.shown(connection, user))[0])


async def create_user(services: Services, call: Call) -> Response:
    call.check_admin()
    body = await call.read(Attributes)
    email = users.clean_email(body.email)
    user_id = users.clean_id(body.id, "id") if body.id else None
    banned_until = _ban_end(body.ban_duration)
    encrypted = await _encrypted(services, body)
    if encrypted is None:
        encrypted = await services.passwords.hash(secrets.token_urlsafe(32))
    confirmed = bool(body.email_confirm)
    try:
        async with services.database.transaction() as connection:
            user = await users.create(
                connection,
                user_id=user_id,
                email=email,
                encrypted_password=encrypted,
                confirmed=confirmed,
                user_metadata=(body.user_metadata or {})
                | ({"email_verified": True} if confirmed else {}),
                app_metadata=body.app_metadata,
                role=_role(body.role),
            )
            if banned_until:
                await users.set_ban(connection, user.id, banned_until)
            return JSONResponse(await users.reload_shown(connection, user.id))
    except UniqueViolation as error:
        raise _taken(error) from error


async def update_user(services: Services, call: Call) -> Response:
    """A new password ends all of the user's sessions; a ban only keeps them from being used."""
    call.check_admin()
    body = await call.read(Attributes)
    email = users.clean_email(body.email) if body.email else None
    banned_until = _ban_end(body.ban_duration)
    role = _role(body.role)
    encrypted = await _encrypted(services, body)
    try:
        async with services.database.transaction() as connection:
            user = await _named(connection, call)
            if encrypted:
                await users.set_password(connection, user.id, encrypted)
                await sessions.end(connection, user.id)
            if email and email != user.email:
                await users.set_email(connection, user.id, email)
                user = await _named(connection, call)
            if body.user_metadata is not None or body.app_metadata is not None:
                await users.set_metadata(
                    connection,
                    user,
                    user_metadata=body.user_metadata,
                    app_metadata=body.app_metadata,
                )
            if role:
                await users.set_role(connection, user.id, role)
            if body.ban_duration:
                await users.set_ban(connection, user.id, banned_until)
            if body.email_confirm:
                await users.confirm(connection, user.id)
            return JSONResponse(await users.reload_shown(connection, user.id))
    except UniqueViolation as error:
        raise _taken(error) from error


async def delete_user(services: Services, call: Call) -> Response:
    call.check_admin()
    body = await call.read(Deletion)
    async with services.database.transaction() as connection:
        user = await _named(connection, call)
        if body.should_soft_delete:
            await sessions.end(connection, user.id)
            await users.delete_softly(connection, user.id)
        else:
            await users.delete(connection, user.id)
    return JSONResponse({})


async def list_factors(services: Services, call: Call) -> Response:
    call.check_admin()
    async with services.database.transaction() as connection:
        user = await _named(connection, call)
        rows = await users.factor_rows(connection, user.id)
    return JSONResponse([users.factor_json(row) for row in rows])


async def delete_factor(services: Services, call: Call) -> Response:
    """For a person who has lost their app."""
    call.check_admin()
    async with services.database.transaction() as connection:
        user = await _named(connection, call)
        factor = await factors.named(connection, user.id, call.request.path_params["factor_id"])
        await factors.remove(connection, factor["id"])
    return JSONResponse(users.factor_json(factor))


async def invite(services: Services, call: Call) -> Response:
    call.check_admin()
    body = await call.read(Link)
    email = users.clean_email(body.email)
    try:
        async with services.database.transaction() as connection:
            user = await _invited(connection, email, body.data or {})
            issued = await one_time.issue(connection, user, "confirmation", relates_to=email)
            await mail.send(
                connection,
                services.config,
                to=email,
                kind="invite",
                issued=issued,
                redirect_to=call.wanted_redirect,
            )
            return JSONResponse(await users.reload_shown(connection, user.id))
    except UniqueViolation as error:
        raise _taken(error) from error


async def generate_link(services: Services, call: Call) -> Response:
    """The link and code that a mail would have carried; no mail is sent."""
    call.check_admin()
    body = await call.read(Link)
    kind = body.type or ""
    email = users.clean_email(body.email)
    if kind not in LINK_KINDS:
        raise invalid(f"Invalid email action link type requested: {kind!r}")
    encrypted = None
    if kind in PASSWORD_KINDS:
        if not body.password:
            raise invalid("Signup requires a valid password")
        check_new_password(body.password, minimum=services.config.password_minimum)
        encrypted = await services.passwords.hash(body.password)
    if kind == "email_change_current" and not services.config.secure_email_change:
        raise invalid("Enable secure email change to generate link for current email")
    try:
        async with services.database.transaction() as connection:
            user = await _link_user(connection, kind, email, encrypted, body.data or {})
            relates_to, (verification, purpose) = email, LINK_KINDS[kind]
            if verification == "email_change":
                new = users.clean_email(body.new_email)
                if await users.by_email(connection, new):
                    raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS)
                await users.announce_email_change(connection, user, new)
                relates_to = new if kind == "email_change_new" else email
            issued = await one_time.issue(connection, user, purpose, relates_to=relates_to)
            shown = await users.reload_shown(connection, user.id)
    except UniqueViolation as error:
        raise _taken(error) from error
    redirect_to = call.redirect_to
    return JSONResponse(
        {
            **shown,
            "action_link": mail.verify_link(services.config, verification, issued, redirect_to),
            "email_otp": issued.code,
            "hashed_token": issued.token_hash,
            "redirect_to": redirect_to,
            "verification_type": kind,
        }
    )


async def _link_user(
    connection: Connection,
    kind: str,
    email: str,
    encrypted: str | None,
    data: Mapping[str, Any],
) -> User:
    if kind == "invite":
        return await _invited(connection, email, data)
    user = await users.by_email(connection, email, lock=True)
    if kind == "signup" and user and user.confirmed:
        raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS)
    if user:
        return user
    if kind not in ("signup", "magiclink"):
        raise AuthError(HTTPStatus.NOT_FOUND, "user_not_found", "User with this email not found")
    return await users.create(
        connection,
        email=email,
        encrypted_password=encrypted,
        confirmed=False,
        user_metadata=data,
    )


async def _invited(connection: Connection, email: str, data: Mapping[str, Any]) -> User:
    user = await users.by_email(connection, email, lock=True)
    if user and user.confirmed:
        raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS)
    return user or await users.create(
        connection,
        email=email,
        encrypted_password=None,
        confirmed=False,
        user_metadata=data,
        invited=True,
    )


async def _named(connection: Connection, call: Call) -> User:
    try:
        user_id = UUID(call.request.path_params["id"])
    except ValueError as error:
        raise invalid("user_id must be an UUID", HTTPStatus.NOT_FOUND) from error
    user = await users.by_id(connection, user_id, lock=True)
    if user is None:
        raise AuthError(HTTPStatus.NOT_FOUND, *USER_NOT_FOUND)
    return user


async def _encrypted(services: Services, body: Attributes) -> str | None:
    if body.password and body.password_hash:
        raise invalid("Only a password or a password hash should be provided")
    if body.password_hash:
        check_foreign_hash(body.password_hash)
        return body.password_hash
    if body.password:
        check_new_password(body.password, minimum=services.config.password_minimum)
        return await services.passwords.hash(body.password)
    return None


def _role(text: str | None) -> str | None:
    if text and not ROLE.fullmatch(text):
        raise invalid("role must be the name of a database role")
    return text or None


def _ban_end(text: str | None) -> datetime | None:
    """When a ban of that duration ends; None for no ban. Durations are like `24h` or `1h30m`."""
    if not text or text == "none":
        return None
    if not DURATION.fullmatch(text):
        raise invalid("invalid format for ban duration: it must be like 24h, or none")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in DURATION_PART.findall(text))
    try:
        return datetime.now(UTC) + timedelta(seconds=seconds)
    except OverflowError as error:
        raise invalid("invalid format for ban duration: it is too long") from error


def _taken(error: UniqueViolation) -> AuthError:
    if error.diag.constraint_name == users.EMAIL_INDEX:
        return AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS)
    return AuthError(HTTPStatus.CONFLICT, "conflict", "A user with this id already exists")
