"""A page: its template, the one style sheet, and what a browser may do with it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from devstack.stripe_fake.pages import words

TEMPLATES = Path(__file__).with_name("templates")
STYLE = (TEMPLATES / "style.css").read_text()
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Allowed in the policy: a name or an address with a port, and nothing that would end it.
PLACE = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?")


def page(
    template: str,
    *,
    status: int = HTTPStatus.OK,
    leads_to: tuple[str, ...] = (),
    wrong: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """`wrong` holds a form's errors, by field. `leads_to` are addresses elsewhere at which the
    answer to a form may end."""
    # Browsers also check where a form's response redirects.
    targets = " ".join(
        ["'self'", *sorted({origin for each in leads_to if (origin := _origin(each))})]
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {targets}"
    )
    return HTMLResponse(
        _environment.get_template(f"{template}.html").render(values, wrong=wrong or {}),
        status_code=HTTPStatus.UNPROCESSABLE_ENTITY if wrong else status,
        headers={
            "content-security-policy": policy,
            # Its own forms have to send their origin; no other site gets the address.
            "referrer-policy": "same-origin",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )


def message(
    title: str, sentence: str, *, way: tuple[str, str] | None = None, status: int = HTTPStatus.OK
) -> HTMLResponse:
    """`way` is the address and the text of the link to continue."""
    return page("message", status=status, title=title, sentence=sentence, way=way)


def _followable(address: str | None) -> bool:
    """Whether an address is one of the web (and not, say, a script)."""
    return bool(address and (address.startswith("/") or _origin(address)))


def _origin(address: str) -> str | None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not PLACE.fullmatch(parts.netloc):
        return None
    return f"{parts.scheme}://{parts.netloc}"


_environment = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals |= {"style": STYLE, "words": words}  # pyright: ignore[reportUnknownMemberType]
_environment.tests["followable"] = _followable  # pyright: ignore[reportUnknownMemberType]
