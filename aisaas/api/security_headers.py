"""What every response tells the browser to refuse: foreign code, frames, guesses about types.

The pages' few inline scripts are part of the build, so their hashes are taken from the built HTML
when the app starts; any other inline script is blocked, and `eval` always is. Styles may be
inline: formulas and measured sizes are set that way.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisaas.api.paths import CONFIRM
from aisaas.settings import PROJECT_ROOT, Settings, settings

BUILT_PAGES = PROJECT_ROOT / ".web" / "build" / "client"
_INLINE_SCRIPT = re.compile(
    r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE
)
YEAR = 31_536_000
# The same for all users, and nothing in them is secret.
BUILT_FILES = "/assets/"
# Each has its version in its name.
FONTS = "/fonts/"
POLICY = "Content-Security-Policy"

PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in ("camera", "microphone", "geolocation", "payment", "usb", "browsing-topics")
)
# The origins of a captcha's script, frames, and calls.
CAPTCHAS = {
    "turnstile": ["https://challenges.cloudflare.com"],
    "hcaptcha": ["https://hcaptcha.com", "https://*.hcaptcha.com"],
}


class SecurityHeaders:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._for_pages = headers(settings(), inline_scripts(BUILT_PAGES))
        # Only pages run scripts, and the hashes are long.
        self._for_others = headers(settings(), [])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                kind = answer.get("content-type", "")
                found = self._for_pages if kind.startswith("text/html") else self._for_others
                for name, value in found.items():
                    if name == POLICY and POLICY in answer:
                        # A route that forbids more than a page needs has said so itself.
                        continue
                    answer[name] = value
                cache = caching(scope["path"], message["status"], kind)
                answer.setdefault("Cache-Control", cache)
                if scope["path"].startswith(BUILT_FILES):
                    # The frame that draws diagrams has no origin, and loads two of these scripts.
                    answer["Cross-Origin-Resource-Policy"] = "cross-origin"
                if scope["path"].rstrip("/") == CONFIRM:
                    # Its address has a mail's secret in it until the page has read it.
                    answer["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive, send_with_headers)


def headers(config: Settings, scripts: Iterable[str]) -> dict[str, str]:
    """The headers of every response. `scripts` are the inline scripts that may run."""
    found = {
        POLICY: policy(config.origins, scripts, config.captcha_provider),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "Permissions-Policy": PERMISSIONS,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if config.app_env == "production" and config.url.startswith("https://"):
        found["Strict-Transport-Security"] = f"max-age={YEAR}; includeSubDomains"
    return found


def policy(origins: Iterable[str], scripts: Iterable[str], captcha: str | None = None) -> str:
    """`captcha` is the provider whose widget may run, if one is set up."""
    widget = CAPTCHAS[captcha] if captcha else []
    # `'self'` covers web sockets in current browsers; older ones want them named.
    sockets = [re.sub(r"^http", "ws", origin) for origin in origins]
    directives = {
        "default-src": ["'self'"],
        "script-src": ["'self'", *sorted({_hash_source(script) for script in scripts}), *widget],
        "style-src": ["'self'", "'unsafe-inline'", *widget],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'", "data:"],
        "connect-src": ["'self'", *sockets, *widget],
        "frame-src": widget or ["'none'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())


def inline_scripts(pages: Path) -> list[str]:
    """The text of each inline script in the built pages."""
    html = [page.read_text("utf-8") for page in sorted(pages.rglob("*.html"))]
    return [script for text in html for script in _INLINE_SCRIPT.findall(text) if script]


def caching(path: str, status: int, content_type: str) -> str:
    """Cache files with a hash or a version in their names forever, others after revalidation, pages
    and API responses not at all."""
    if status == 200 and path.startswith((BUILT_FILES, FONTS)):  # noqa: PLR2004
        return f"public, max-age={YEAR}, immutable"
    if content_type.startswith(("text/html", "application/json")) or path.startswith("/api/"):
        return "no-store"
    return "no-cache"


def _hash_source(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
