"""The built pages at their addresses, with what only the running server knows.

A build has no settings but the name, and shows its forms and outlines before scripts run. What
differs between installs, or between a visitor and a user with a session, is added to the HTML here:
attributes of the root element that the stylesheet selects by, and the site's values for the scripts.
None of it is account data.
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisaas.accounts.sessions import token_from
from aisaas.api.paths import BUILD_ORIGIN, BY_ID, HOME, NOT_FOUND
from aisaas.api.serving import Provide
from aisaas.api.site import site
from aisaas.settings import PROJECT_ROOT

BUILT_PAGES = PROJECT_ROOT / ".web" / "build" / "client"
ROOT = '<html lang="en"'
NOT_FOUND_STATUS = 404
# Placeholders in the built pages for the site's values; `site.js` has the same.
PLACEHOLDERS = {
    "https://terms.invalid/": "terms_url",
    "https://privacy.invalid/": "privacy_url",
    "contact@site.invalid": "contact_email",
    BUILD_ORIGIN: "url",
}


class Pages:
    """ASGI middleware around the files of the front end."""

    def __init__(self, app: ASGIApp, services: Provide) -> None:
        self._app = app
        self._services = services
        self._built = built_pages(BUILT_PAGES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"} or not self._built:
            await self._app(scope, receive, send)
            return
        if page := page_of(scope["path"], self._built):
            await self._answer(page, scope, receive, send)
            return
        nowhere = False

        async def send_unless_nowhere(message: Message) -> None:
            nonlocal nowhere
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                nowhere = message["status"] == NOT_FOUND_STATUS and kind.startswith("text/html")
            if not nowhere:
                await send(message)

        await self._app(scope, receive, send_unless_nowhere)
        if nowhere:
            await self._answer(NOT_FOUND, scope, receive, send)

    async def _answer(self, page: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        signed_in = token_from(headers.get("cookie"), self._services().cookie) is not None
        asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        content = self._with_site(page, signed_in, "choose" in asked)
        answer = {"Vary": "Accept-Encoding, Cookie"}
        if "gzip" in headers.get("accept-encoding", ""):
            content, answer["Content-Encoding"] = _compressed(content), "gzip"
        status = NOT_FOUND_STATUS if page == NOT_FOUND else 200
        response = Response(content, status, answer, media_type="text/html")
        if scope["method"] == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    def _with_site(self, page: str, signed_in: bool, choosing: bool) -> bytes:
        root = {"data-sign-up": self._services().settings.sign_up_mode}
        if signed_in:
            root["data-signed-in"] = ""
        if choosing:
            root["data-choosing"] = ""
        return completed(self._built[page], root, self._values).encode()

    @cached_property
    def _values(self) -> Mapping[str, object]:
        these = self._services()
        return site(these) | {"url": these.settings.url}


def built_pages(folder: Path) -> dict[str, str]:
    """The HTML of each page by its address; empty without a build."""
    return {
        HOME + "/".join(page.relative_to(folder).parts[:-1]): page.read_text("utf-8")
        for page in folder.rglob("index.html")
    }


def page_of(path: str, built: Mapping[str, str]) -> str | None:
    """The address of the built page for `path`; None if there is no such page."""
    path = path.rstrip("/") or HOME
    parent = path.rpartition("/")[0]
    found = path if path in built else BY_ID.get(parent)
    return found if found in built else None


def completed(page: str, root: Mapping[str, str], values: Mapping[str, object]) -> str:
    """A page with attributes at its root element, and `values` for scripts and links."""
    attributes = "".join(f' {name}="{html.escape(value)}"' for name, value in root.items())
    meta = f'<meta name="site" content="{html.escape(json.dumps(values))}"/>'
    page = page.replace(ROOT, f"{ROOT}{attributes}", 1).replace("</head>", f"{meta}</head>", 1)
    for placeholder, name in PLACEHOLDERS.items():
        page = page.replace(placeholder, html.escape(str(values[name])))
    return page


@lru_cache(maxsize=128)
def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
