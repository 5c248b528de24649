"""The frame around each page: one style sheet, and what a browser may do with it."""

import base64
import hashlib
import re
from http import HTTPStatus
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from devstack.stripe_fake.pages.html import Html, joined, tag

STYLE = Path(__file__).with_name("style.css").read_text()
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# What may stand in the policy: a name or an address with a port, and nothing that would end it.
PLACE = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?")

Width = Literal["narrow", "middle", "wide"]


def page(
    title: str,
    *content: str | None,
    status: int = HTTPStatus.OK,
    width: Width = "middle",
    leads_to: tuple[str, ...] = (),
) -> HTMLResponse:
    """`leads_to` are addresses elsewhere at which the answer to one of its forms may end."""
    # A browser minds where a form's answer leads, too.
    targets = " ".join(
        ["'self'", *sorted({origin for each in leads_to if (origin := _origin(each))})]
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {targets}"
    )
    head = joined(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · Stand-in for Stripe"),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("strong", "Stand-in for Stripe"),
            tag("span", "No money moves: this runs on your machine, for development."),
            class_="banner",
        ),
        tag("main", tag("h1", title), *content),
        class_=width,
    )
    return HTMLResponse(
        joined(Html("<!doctype html>"), tag("html", tag("head", head), body, lang="en")),
        status_code=status,
        headers={
            "content-security-policy": policy,
            # Its own forms have to say where they come from; nobody else learns an address.
            "referrer-policy": "same-origin",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )


def notice(sentence: str, *, wrong: bool = False) -> Html:
    """What a form has brought about."""
    kind = "wrong" if wrong else "good"
    return tag("p", sentence, class_=f"{kind} notice card", role="status")


def link(address: str | None, text: str, *, class_: str | None = None) -> Html | None:
    """A way to follow, if the address is one of the web (and not, say, a script)."""
    if not address or not (address.startswith("/") or _origin(address)):
        return None
    return tag("a", text, href=address, class_=class_)


def _origin(address: str) -> str | None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not PLACE.fullmatch(parts.netloc):
        return None
    return f"{parts.scheme}://{parts.netloc}"
