"""The address that users type, as they reach it: over https, with a certificate that browsers trust.

Asked from here, so what only this machine sees otherwise (its own hosts file, a private network) shows
otherwise, too.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Generator
from http.client import HTTPMessage
from urllib.parse import urlsplit

from aisaas.cli.production.findings import Finding, fail, ok, skipped
from aisaas.settings import Settings

ANSWER_SECONDS = 5
HEALTH = "/health"
HSTS = "Strict-Transport-Security"
LATER = "run this again when it is deployed; see docs/deploy.md"


def look(config: Settings) -> Generator[Finding]:
    if urlsplit(config.url).scheme != "https":
        yield skipped("address", f"{config.url} is not https", "set APP_URL to the https address")
        yield skipped("plain http", "there is nothing but it", "set APP_URL to the https address")
        return
    yield _secure(config.url)
    if urlsplit(config.url).port is not None:
        yield skipped(
            "plain http",
            f"{config.url} names a port, so there is no http beside it",
            "see that nothing serves the app over http",
        )
        return
    yield plain_http(config.url.replace("https://", "http://", 1))


def _secure(url: str) -> Finding:
    try:
        status, headers = _get(url)
    except ssl.SSLError as error:
        said = getattr(error, "verify_message", "") or error.reason or "no TLS"
        return fail(
            "address",
            f"{url}: browsers will warn of it: {said}",
            "let the proxy get a certificate for that name; its log says what keeps it",
        )
    except (OSError, http.client.HTTPException):
        return skipped("address", f"nothing answers at {url} yet", LATER)
    if status != http.client.OK:
        return fail(
            "address",
            f"{url}{HEALTH} answers {status}",
            "let the proxy lead to the app, and see that the app is up",
        )
    if HSTS not in headers:
        return fail(
            "address",
            f"{url} answers without {HSTS}",
            "let the proxy pass the app's headers on; the app sends it when APP_URL is https",
        )
    return ok("address", f"{url} answers, with a certificate that is trusted and with HSTS")


def plain_http(url: str) -> Finding:
    """Whether whoever types no https is led there."""
    try:
        status, headers = _get(url)
    except (OSError, http.client.HTTPException):
        return ok("plain http", "closed")
    if not headers.get("Location", "").startswith("https://"):
        return fail(
            "plain http",
            f"{url} answers {status} instead of leading to https",
            "let the proxy redirect http to https (Caddy does by itself)",
        )
    return ok("plain http", "leads to https")


def _get(url: str) -> tuple[int, HTTPMessage]:
    """Status and headers, of a redirect too. Raises OSError or HTTPException."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=ANSWER_SECONDS, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", HEALTH)
        answer = connection.getresponse()
        return answer.status, answer.headers
    finally:
        connection.close()
