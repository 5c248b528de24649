"""Signing up, in, and out over HTTP, and the links in mails."""

from __future__ import annotations

import logging
from typing import Annotated
from uuid import UUID

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from aisaas.accounts.identity import Scope
from aisaas.accounts.ports import LinkKind
from aisaas.api.forms import (
    SEE_OTHER,
    Email,
    OwnForm,
    Password,
    address_of,
    done,
    forget_cookie,
    form_route,
    origin_of,
    read,
    signed_in,
    target_of,
    user_agent,
    wants_json,
)
from aisaas.api.paths import CONFIRM, HOME, LOGIN, RESET, SETTINGS, SIGNUP
from aisaas.api.serving import services_of
from aisaas.errors import DependencyError, TooSlow, Unavailable

log = logging.getLogger(__name__)

CONFIRM_SENT = "We sent you a link. Open it to confirm your email address."
# The same words whether or not there is such an account.
LINK_SENT = "If that address has an account, we've sent it a link. The link works for an hour."
ONE_MORE = "One more step: open the link we sent to your other address."
CHOOSE_PASSWORD = f"{RESET}?choose=1"
# The targets of links in email; the others lead on to where the visitor was going.
AFTER: dict[LinkKind, str] = {
    "recovery": CHOOSE_PASSWORD,
    "invite": CHOOSE_PASSWORD,
    "email_change": f"{SETTINGS}?notice=address_changed",
}


class Credentials(OwnForm):
    email: Email
    password: Password


class NewAccount(Credentials):
    full_name: Annotated[str, Field(max_length=120)] = ""


class Mailbox(OwnForm):
    email: Email


class Link(OwnForm):
    token_hash: Annotated[str, Field(min_length=1, max_length=512)]
    type: LinkKind


class SignOut(OwnForm):
    scope: Scope = "here"


class OneSession(OwnForm):
    session: UUID


# In


async def sign_in(request: Request) -> Response:
    form = await read(request, Credentials)
    result = await services_of(request).accounts.sign_in(
        str(form.email),
        form.password,
        user_agent=user_agent(request),
        address=address_of(request),
        captcha=form.captcha,
    )
    return signed_in(request, result, target_of(request))


async def sign_up(request: Request) -> Response:
    form = await read(request, NewAccount)
    target = target_of(request)
    result = await services_of(request).accounts.sign_up(
        str(form.email),
        form.password,
        " ".join(form.full_name.split()),
        user_agent=user_agent(request),
        address=address_of(request),
        captcha=form.captcha,
        redirect_to=origin_of(request) + target,
    )
    if result is None:
        return done(request, LOGIN, "confirm", confirm=True, message=CONFIRM_SENT)
    return signed_in(request, result, target)


async def magic_link(request: Request) -> Response:
    form = await read(request, Mailbox)
    await services_of(request).accounts.mail_sign_in(
        str(form.email),
        address=address_of(request),
        captcha=form.captcha,
        redirect_to=origin_of(request) + target_of(request),
    )
    return done(request, LOGIN, "link_sent", message=LINK_SENT)


async def reset(request: Request) -> Response:
    form = await read(request, Mailbox)
    await services_of(request).accounts.mail_reset(
        str(form.email),
        address=address_of(request),
        captcha=form.captcha,
        redirect_to=origin_of(request) + RESET,
    )
    return done(request, RESET, "link_sent", message=LINK_SENT)


async def resend(request: Request) -> Response:
    form = await read(request, Mailbox)
    await services_of(request).accounts.mail_confirmation(
        str(form.email),
        address=address_of(request),
        captcha=form.captcha,
        redirect_to=origin_of(request) + target_of(request),
    )
    return done(request, LOGIN, "link_sent", message=LINK_SENT)


async def confirm(request: Request) -> Response:
    """A click on our own page redeems a mail's link: programs that only look at links don't."""
    form = await read(request, Link)
    result = await services_of(request).accounts.confirm(
        form.token_hash, form.type, user_agent=user_agent(request)
    )
    if result is None:
        return done(request, CONFIRM, "one_more", message=ONE_MORE)
    return signed_in(request, result, AFTER.get(form.type, target_of(request)))


# Out


async def sign_out(request: Request) -> Response:
    form = await read(request, SignOut)
    if form.scope == "others":
        await services_of(request).accounts.sign_out(request.headers.get("cookie"), form.scope)
        return done(
            request,
            SETTINGS,
            "others_signed_out",
            message="You're signed out of all other sessions.",
        )
    try:
        await services_of(request).accounts.sign_out(request.headers.get("cookie"), form.scope)
    except (DependencyError, TooSlow, Unavailable):
        # The browser forgets the session now, but the server could not end it.
        log.warning("sign-out while the database was away")
        message = "You're signed out in this browser, but we couldn't reach the server to end the session."
        response: Response = (
            JSONResponse({"code": Unavailable.code, "message": message}, 503)
            if wants_json(request)
            else Response(message, 503, media_type="text/plain")
        )
    else:
        response = (
            JSONResponse({"redirect": HOME})
            if wants_json(request)
            else RedirectResponse(HOME, SEE_OTHER)
        )
    forget_cookie(request, response)
    return response


async def end(request: Request) -> Response:
    form = await read(request, OneSession)
    await services_of(request).accounts.end_session(request.headers.get("cookie"), form.session)
    return done(request, SETTINGS, "session_ended", message="That session has been signed out.")


_FORMS = (
    ("sign-in", sign_in, LOGIN),
    ("sign-up", sign_up, SIGNUP),
    ("magic-link", magic_link, LOGIN),
    ("reset", reset, RESET),
    ("resend", resend, LOGIN),
    ("confirm", confirm, CONFIRM),
    ("sign-out", sign_out, SETTINGS),
    ("end", end, SETTINGS),
)


def routes() -> list[Route]:
    return [
        form_route(f"/api/session/{name}", endpoint, page=page) for name, endpoint, page in _FORMS
    ]
