"""One request: its caller and its content, checked before use."""

import json
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from devstack.auth import redirects, sessions, users
from devstack.auth.errors import (
    SESSION_NOT_FOUND,
    USER_BANNED,
    AuthError,
    GatewayError,
    bad_jwt,
)
from devstack.auth.services import Services
from devstack.auth.sessions import Session
from devstack.auth.tokens import same
from devstack.auth.users import User

MAXIMUM_BODY_BYTES = 64 * 1024
USER_AGENT_CHARACTERS = 200


class Body(BaseModel):
    """A request body. Unknown fields are ignored, wrong types refused, null means absent."""

    model_config = ConfigDict(strict=True, extra="ignore")


SomeBody = TypeVar("SomeBody", bound=Body)


@dataclass(frozen=True, slots=True)
class SignedIn:
    user: User
    session: Session


class Call:
    def __init__(self, request: Request, services: Services) -> None:
        self.request = request
        self._services = services
        self._content: bytes | None = None

    # Its content

    async def content(self) -> bytes:
        """The body; can be called repeatedly. Raises `AuthError` 413."""
        if self._content is None:
            content = bytearray()
            async for chunk in self.request.stream():
                content += chunk
                if len(content) > MAXIMUM_BODY_BYTES:
                    raise AuthError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        "request_too_large",
                        f"The request body is larger than {MAXIMUM_BODY_BYTES} bytes",
                    )
            self._content = bytes(content)
        return self._content

    async def read(self, kind: type[SomeBody]) -> SomeBody:
        """The JSON body. Raises `AuthError` 400 or 413."""
        content = await self.content()
        try:
            value = cast("object", json.loads(content or b"{}", parse_constant=_refuse_constant))
            _check_storable(value)
            return kind.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise _bad_json(f"{where}: {first['msg']}") from error
        except (ValueError, RecursionError) as error:
            raise _bad_json("it is not valid JSON") from error

    def query(self, name: str) -> str:
        value = self.request.query_params.get(name, "")
        return value.replace("\x00", "")

    @property
    def wanted_redirect(self) -> str | None:
        """Where the caller wants a link to lead; None if that isn't allowed, or not given."""
        wanted = self.query("redirect_to") or self.request.headers.get("redirect_to", "")
        return wanted if redirects.is_allowed(self._services.config, wanted) else None

    @property
    def redirect_to(self) -> str:
        """Where a link leads: where the caller wants it to, else to the site's front page."""
        return self.wanted_redirect or self._services.config.site_url

    @property
    def client_address(self) -> str:
        return self.request.client.host if self.request.client else ""

    @property
    def user_agent(self) -> str:
        agent = self.request.headers.get("user-agent", "")
        return agent.replace("\x00", "")[:USER_AGENT_CHARACTERS]

    # Who makes it

    def check_project_key(self) -> None:
        """Raises `GatewayError` unless the request names one of the project's two keys."""
        given = self.request.headers.get("apikey") or self.query("apikey")
        if not given:
            raise GatewayError(
                "No API key found in request", "No `apikey` request header or url param was found."
            )
        config = self._services.config
        if not same(given, config.publishable_key) and not same(given, config.secret_key):
            raise GatewayError("Invalid API key", "Double check your Supabase API key.")

    def check_admin(self) -> None:
        """Raises `AuthError`: 401 without a key, 403 not_admin or bad_jwt with the wrong one."""
        bearer = self._bearer()
        if same(bearer, self._services.config.secret_key):
            return
        if not same(bearer, self._services.config.publishable_key):
            self._services.keyring.read(bearer)
        raise AuthError(HTTPStatus.FORBIDDEN, "not_admin", "User not allowed")

    @property
    def is_admin(self) -> bool:
        """Whether the bearer token is the secret key: for checks that only an admin may skip."""
        _, _, token = self.request.headers.get("authorization", "").partition(" ")
        return same(token.strip(), self._services.config.secret_key)

    async def signed_in(self) -> SignedIn:
        """The user and session behind the bearer token, as they are in the database now.

        Raises `AuthError` 401 no_authorization, 403 bad_jwt, user_not_found, session_not_found or
        user_banned.
        """
        claims = self._services.keyring.read(self._bearer())
        try:
            user_id, session_id = UUID(claims["sub"]), UUID(claims["session_id"])
        except (ValueError, TypeError, AttributeError) as error:
            raise bad_jwt("invalid claims") from error
        async with self._services.database.transaction() as connection:
            user = await users.by_id(connection, user_id)
            session = await sessions.find(connection, session_id, user_id)
        if user is None or user.deleted_at:
            raise AuthError(
                HTTPStatus.FORBIDDEN, "user_not_found", "User from sub claim in JWT does not exist"
            )
        if user.banned:
            raise AuthError(HTTPStatus.FORBIDDEN, *USER_BANNED)
        if session is None:
            raise AuthError(HTTPStatus.FORBIDDEN, *SESSION_NOT_FOUND)
        return SignedIn(user, session)

    def _bearer(self) -> str:
        scheme, _, token = self.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise AuthError(
                HTTPStatus.UNAUTHORIZED,
                "no_authorization",
                "This endpoint requires a valid Bearer token",
            )
        return token.strip()


Action = Callable[[Services, Call], Awaitable[Response]]


def _bad_json(why: str) -> AuthError:
    return AuthError(
        HTTPStatus.BAD_REQUEST, "bad_json", f"Could not parse request body as JSON: {why}"
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_storable(value: object) -> None:
    """Raises `ValueError` for values that JSON allows and Postgres can't store."""
    for leaf in _leaves(value):
        if isinstance(leaf, str):
            leaf.encode()  # a lone surrogate raises
            if "\x00" in leaf:
                raise ValueError("NUL")
        elif isinstance(leaf, float) and not math.isfinite(leaf):
            raise ValueError("not finite")


def _leaves(value: object) -> Iterator[object]:
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        else:
            yield item
