"""A second factor: an authenticator app (TOTP), added, asked for, and removed.

A session starts at level `aal1`; a right code lifts it to `aal2`, and removing the factor lowers it
again. As on hosted, a code can be used again while it lasts.
"""

from http import HTTPStatus
from io import BytesIO
from urllib.parse import urlsplit
from uuid import UUID

import segno
from pyotp import random_base32
from pyotp.totp import TOTP
from starlette.responses import JSONResponse, Response

from devstack.auth import sessions, users
from devstack.auth.call import Body, Call, SignedIn
from devstack.auth.database import Connection, Row
from devstack.auth.errors import USER_NOT_FOUND, AuthError, invalid
from devstack.auth.services import Services
from devstack.auth.users import User

MOST_FACTORS = 10
CHALLENGE_SECONDS = 300
# One that was never confirmed gives way to the next after this time.
UNVERIFIED_SECONDS = 300
# Codes before and after the present one: for a clock that is off, and a code typed at its very end.
NEIGHBORS = 1
NO_STORE = {"cache-control": "no-store"}


class Enrollment(Body):
    factor_type: str | None = None
    friendly_name: str | None = None
    issuer: str | None = None


class Answer(Body):
    challenge_id: str | None = None
    code: str | None = None


async def enroll(services: Services, call: Call) -> Response:
    """A new secret, for the app to scan. The factor counts once a code of it was verified."""
    caller = await call.signed_in()
    body = await call.read(Enrollment)
    _check_kind(body.factor_type)
    name = body.friendly_name or ""
    secret = random_base32()
    issuer = body.issuer or urlsplit(services.config.site_url).netloc
    uri = TOTP(secret).provisioning_uri(name=caller.user.email or "", issuer_name=issuer)
    try:
        image = segno.make_qr(uri)
    except segno.DataOverflowError as error:
        raise invalid("The issuer is too long for a QR code") from error
    async with services.database.transaction() as connection:
        user = await _locked(connection, caller)
        await connection.execute(
            "delete from auth.mfa_factors where user_id = %s and status = 'unverified'"
            " and created_at < now() - make_interval(secs => %s)",
            [user.id, UNVERIFIED_SECONDS],
        )
        _check_another(await users.factor_rows(connection, user.id), name, caller)
        cursor = await connection.execute(
            "insert into auth.mfa_factors (user_id, friendly_name, secret) values (%s, %s, %s)"
            " returning id",
            [user.id, name, secret],
        )
        row = await cursor.fetchone()
        assert row
    return JSONResponse(
        {
            "id": str(row["id"]),
            "type": "totp",
            "friendly_name": name,
            "totp": {"qr_code": _svg(image), "secret": secret, "uri": uri},
        },
        headers=NO_STORE,
    )


def _svg(image: segno.QRCode) -> str:
    """Without `#` and double quotes: clients put it into a data URL as it is."""
    written = BytesIO()
    image.save(written, kind="svg", xmldecl=False, light="white")
    text = written.getvalue().decode().strip()
    return text.replace("#000", "black").replace("#fff", "white").replace('"', "'")


def _check_kind(kind: str | None) -> None:
    if kind in ("phone", "webauthn"):
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"mfa_{kind}_enroll_not_enabled",
            f"MFA enroll is disabled for {kind}",
        )
    if kind != "totp":
        raise invalid("factor_type needs to be totp, phone, or webauthn")


def _check_another(factors: list[Row], name: str, caller: SignedIn) -> None:
    if any(factor["friendly_name"] == name for factor in factors):
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "mfa_factor_name_conflict",
            f'A factor with the friendly name "{name}" for this user already exists',
        )
    if len(factors) >= MOST_FACTORS:
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "too_many_enrolled_mfa_factors",
            "Maximum number of verified factors reached, unenroll to continue",
        )
    if _any_verified(factors) and not caller.session.factor_id:
        raise _insufficient(HTTPStatus.FORBIDDEN, "AAL2 required to enroll a new factor")


async def challenge(services: Services, call: Call) -> Response:
    caller = await call.signed_in()
    async with services.database.transaction() as connection:
        factor = await named(connection, caller.user.id, call.request.path_params["factor_id"])
        cursor = await connection.execute(
            "insert into auth.mfa_challenges (factor_id) values (%s) returning id, created_at",
            [factor["id"]],
        )
        row = await cursor.fetchone()
        assert row
    expires_at = int(row["created_at"].timestamp()) + CHALLENGE_SECONDS
    return JSONResponse({"id": str(row["id"]), "type": "totp", "expires_at": expires_at})


async def verify(services: Services, call: Call) -> Response:
    """A right code lifts this session to aal2 and ends those which are still at aal1."""
    caller = await call.signed_in()
    body = await call.read(Answer)
    if not body.code:
        raise invalid("Code needs to be non-empty")
    challenge_id = users.clean_id(body.challenge_id or "", "challenge_id")
    async with services.database.transaction() as connection:
        user = await _locked(connection, caller)
        factor = await named(connection, user.id, call.request.path_params["factor_id"])
        await _check_challenge(connection, factor["id"], challenge_id)
        if not TOTP(factor["secret"]).verify(body.code, valid_window=NEIGHBORS):
            raise AuthError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "mfa_verification_failed",
                "Invalid TOTP code entered",
            )
        await connection.execute("delete from auth.mfa_challenges where id = %s", [challenge_id])
        await connection.execute(
            "update auth.mfa_factors set status = 'verified', updated_at = now() where id = %s",
            [factor["id"]],
        )
        await connection.execute(
            "delete from auth.mfa_factors where user_id = %s and status = 'unverified'", [user.id]
        )
        session = await sessions.lift(
            services, connection, user, caller.session.id, factor_id=factor["id"]
        )
        await connection.execute(
            "delete from auth.sessions where user_id = %s and factor_id is null", [user.id]
        )
    return JSONResponse(session, headers=NO_STORE)


async def _check_challenge(connection: Connection, factor_id: UUID, challenge_id: UUID) -> None:
    cursor = await connection.execute(
        """
        select created_at > now() - make_interval(secs => %s) as fresh
        from auth.mfa_challenges where id = %s and factor_id = %s
        """,
        [CHALLENGE_SECONDS, challenge_id, factor_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "mfa_factor_not_found",
            "MFA factor with the provided challenge ID not found",
        )
    if not row["fresh"]:
        raise AuthError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "mfa_challenge_expired",
            "MFA challenge has expired, verify against another challenge or create a new challenge.",
        )


async def unenroll(services: Services, call: Call) -> Response:
    caller = await call.signed_in()
    async with services.database.transaction() as connection:
        factor = await named(connection, caller.user.id, call.request.path_params["factor_id"])
        if _any_verified([factor]) and not caller.session.factor_id:
            raise _insufficient(
                HTTPStatus.UNPROCESSABLE_ENTITY, "AAL2 required to unenroll verified factor"
            )
        await remove(connection, factor["id"])
    return JSONResponse({"id": str(factor["id"])})


async def check_level(connection: Connection, caller: SignedIn) -> None:
    """Raises `AuthError` 401 insufficient_aal where a second factor has yet to be shown."""
    if caller.session.factor_id:
        return
    if _any_verified(await users.factor_rows(connection, caller.user.id)):
        raise _insufficient(
            HTTPStatus.UNAUTHORIZED,
            "AAL2 session is required to update email or password when MFA is enabled.",
        )


async def named(connection: Connection, user_id: UUID, factor_id: str) -> Row:
    """Raises `AuthError` 404 when that isn't a factor of the user."""
    wanted = _uuid(factor_id)
    for factor in await users.factor_rows(connection, user_id):
        if factor["id"] == wanted:
            return factor
    raise AuthError(HTTPStatus.NOT_FOUND, "mfa_factor_not_found", "Factor not found")


def _uuid(factor_id: str) -> UUID:
    try:
        return UUID(factor_id)
    except ValueError as error:
        raise invalid("factor_id must be an UUID", HTTPStatus.NOT_FOUND) from error


async def remove(connection: Connection, factor_id: UUID) -> None:
    """Sessions that it lifted are at aal1 again."""
    await connection.execute("delete from auth.mfa_factors where id = %s", [factor_id])


async def _locked(connection: Connection, caller: SignedIn) -> User:
    user = await users.by_id(connection, caller.user.id, lock=True)
    if user is None:
        raise AuthError(HTTPStatus.FORBIDDEN, *USER_NOT_FOUND)
    return user


def _any_verified(factors: list[Row]) -> bool:
    return any(factor["status"] == "verified" for factor in factors)


def _insufficient(status: HTTPStatus, message: str) -> AuthError:
    return AuthError(status, "insufficient_aal", message)
