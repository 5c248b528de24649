"""Where a browser may be sent, and the answers that send it there."""

import re
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.responses import RedirectResponse

from devstack.auth.config import Config

HOST = re.compile(r"[A-Za-z0-9._:-]+")
WILDCARD = re.compile(r"\*\*|\*|\?")
WILDCARDS = {"**": ".*", "*": "[^./]*", "?": "[^./]"}


def is_allowed(config: Config, wanted: str) -> bool:
    """Whether it is on the site's own host, at whatever port, or on the list. As Supabase does."""
    if "\\" in wanted or any(character <= " " for character in wanted):
        return False
    try:
        parts = urlsplit(wanted)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.username is not None:
        return False
    if not HOST.fullmatch(parts.hostname or ""):
        return False
    if parts.hostname == urlsplit(config.site_url).hostname:
        return True
    plain = urlunsplit(parts._replace(fragment=""))
    return any(re.fullmatch(_expression(pattern), plain) for pattern in config.redirect_urls)


def _expression(pattern: str) -> str:
    literal = [re.escape(part) for part in WILDCARD.split(pattern)]
    wild = [WILDCARDS[found] for found in WILDCARD.findall(pattern)]
    return "".join(f"{part}{more}" for part, more in zip(literal, [*wild, ""], strict=True))


def to(
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


def failed(
    target: str, code: str | None, message: str, *, error: str = "access_denied"
) -> RedirectResponse:
    """Back to the site with the error, in the query and in the fragment."""
    why = {"error": error, "error_code": code, "error_description": message}
    why = {name: value for name, value in why.items() if value}
    return to(target, query=why, fragment=why)


def with_session(target: str, session: dict[str, Any], **more: str) -> RedirectResponse:
    """The implicit flow: the session is in the fragment, which browsers keep to themselves."""
    names = ("access_token", "expires_at", "expires_in", "refresh_token", "token_type")
    return to(target, fragment={**{name: session[name] for name in names}, **more})
