"""Signing in with a third party, whose consent page this server fakes.

The flow as on hosted: `authorize` redirects to the provider, the provider redirects back with a yes
or a no, and the site gets a code that only the requester's verifier turns into a session. The
request travels in a signed state, so nothing is stored until the user consents.
"""

import hashlib
from dataclasses import asdict, dataclass
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from psycopg.errors import UniqueViolation
from starlette.responses import RedirectResponse, Response

from devstack.auth import linking, one_time, redirects, sessions, users
from devstack.auth.call import Call
from devstack.auth.config import Config
from devstack.auth.errors import AuthError, invalid
from devstack.auth.linking import Profile
from devstack.auth.one_time import Challenge
from devstack.auth.pages import page
from devstack.auth.providers import PROVIDERS
from devstack.auth.services import Services

STATE_SECONDS = 300
METHOD = "oauth"
NAME_CHARACTERS = 200
DENIED = "The user denied the request"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the site asked for. Without a challenge it is the implicit flow."""

    provider: str
    redirect_to: str
    challenge: str | None = None
    challenge_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person filled in on the provider's page."""

    email: str
    full_name: str
    email_verified: bool
    allowed: bool


async def authorize(services: Services, call: Call) -> Response:
    """On to the provider. Raises `AuthError` 400 for one that isn't there."""
    provider = call.query("provider")
    if provider not in PROVIDERS:
        raise invalid(f"Unsupported provider: Provider {provider} could not be found")
    if provider not in services.config.providers:
        raise invalid("Unsupported provider: provider is not enabled")
    challenge = one_time.read_challenge(
        call.query("code_challenge"), call.query("code_challenge_method")
    )
    asked = Asked(
        provider,
        call.redirect_to,
        challenge.value if challenge else None,
        challenge.kind if challenge else None,
    )
    state = services.keyring.sign_state(asdict(asked), ttl=STATE_SECONDS)
    query = urlencode({"state": state})
    return redirects.to(f"{_page_address(services.config, provider)}?{query}")


async def show_provider(services: Services, call: Call) -> Response:
    state = call.query("state")
    asked = _asked(services, call, state)
    if asked is None:
        return _bad_state(services.config)
    return _provider_page(asked, state, email="", full_name="")


async def decide(services: Services, call: Call) -> Response:
    """The provider's answer: back to the site with a code or an error."""
    form = parse_qs((await call.content()).decode(errors="replace").replace("\x00", ""))
    state = form.get("state", [""])[0]
    asked = _asked(services, call, state)
    if asked is None:
        return _bad_state(services.config)
    answer = _answer(form)
    if not answer.allowed:
        return redirects.failed(asked.redirect_to, None, DENIED)
    try:
        email = users.clean_email(answer.email.strip())
    except AuthError as error:
        return _provider_page(
            asked, state, email=answer.email, full_name=answer.full_name, wrong=error.message
        )
    profile = _profile(services.config, asked.provider, email, answer)
    try:
        return await _sign_in(services, call, asked, profile)
    except UniqueViolation:
        # Another user signed up with this address since we checked. Now there is an account to
        # link.
        return await _sign_in(services, call, asked, profile)


async def _sign_in(services: Services, call: Call, asked: Asked, profile: Profile) -> Response:
    try:
        async with services.database.transaction() as connection:
            user = await linking.account_for(services, connection, profile)
            if isinstance(user, AuthError):
                return redirects.failed(asked.redirect_to, user.code, user.message)
            if asked.challenge and asked.challenge_kind:
                challenge = Challenge(asked.challenge, asked.challenge_kind)
                code = await one_time.begin_flow(connection, user.id, challenge, METHOD)
                return redirects.to(asked.redirect_to, query={"code": code})
            session = await sessions.open_session(
                services, connection, user.id, method=METHOD, user_agent=call.user_agent
            )
            return redirects.with_session(asked.redirect_to, session)
    except AuthError as error:
        kind = (
            "server_error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "access_denied"
        )
        return redirects.failed(asked.redirect_to, error.code, error.message, error=kind)


def _asked(services: Services, call: Call, state: str) -> Asked | None:
    claims = services.keyring.read_state(state)
    if claims is None:
        return None
    asked = Asked(
        claims["provider"], claims["redirect_to"], claims["challenge"], claims["challenge_kind"]
    )
    at_its_page = asked.provider == call.request.path_params["provider"]
    # The list may have changed with a restart.
    return asked if at_its_page and asked.provider in services.config.providers else None


def _bad_state(config: Config) -> RedirectResponse:
    return redirects.failed(
        config.site_url,
        "bad_oauth_state",
        "OAuth state is invalid or has expired",
        error="invalid_request",
    )


def _answer(form: dict[str, list[str]]) -> Answer:
    return Answer(
        email=form.get("email", [""])[0],
        full_name=form.get("full_name", [""])[0].strip()[:NAME_CHARACTERS],
        email_verified="email_verified" in form,
        allowed=form.get("decision", [""])[0] == "allow",
    )


def _profile(config: Config, provider: str, email: str, answer: Answer) -> Profile:
    return Profile(
        provider=provider,
        issuer=_page_address(config, provider),
        # The same person there each time, as with a real one.
        subject=hashlib.sha256(f"{provider}\n{email}".encode()).hexdigest()[:24],
        email=email,
        email_verified=answer.email_verified,
        full_name=answer.full_name,
    )


def _page_address(config: Config, provider: str) -> str:
    return f"{config.public_url}/provider/{provider}"


def _provider_page(
    asked: Asked, state: str, *, email: str, full_name: str, wrong: str = ""
) -> Response:
    name, site = escape(PROVIDERS[asked.provider]), urlsplit(asked.redirect_to)
    content: list[Any] = [
        f"<p>This is not {name}. It stands in for it on this machine: say who {name} should tell "
        f"<strong>{escape(site.netloc)}</strong> that you are.</p>",
        f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else "",
        f'<form class="card" method="post" action="/provider/{asked.provider}">',
        f'<input type="hidden" name="state" value="{escape(state)}">',
        f'<label>Email<input id="email" name="email" type="email" required maxlength="255" '
        f'autocomplete="email" value="{escape(email)}"></label>',
        f'<label>Name<input id="full_name" name="full_name" maxlength="{NAME_CHARACTERS}" '
        f'autocomplete="name" value="{escape(full_name)}"></label>',
        '<label class="check"><input id="email_verified" name="email_verified" type="checkbox" '
        f'value="true" checked><span>{name} has verified this address</span></label>',
        '<div class="row end"><button class="main" name="decision" value="allow">Sign in</button>'
        '<button name="decision" value="deny" formnovalidate>Cancel</button></div></form>',
    ]
    return page(
        f"Stand-in for {PROVIDERS[asked.provider]}",
        "".join(content),
        status=HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        # A browser minds where a form's answer leads, too.
        form_action=f"'self' {site.scheme}://{site.netloc}",
        narrow=True,
    )
