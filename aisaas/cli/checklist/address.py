"""The address that users open, as they reach it: over https, with a certificate that browsers trust.

The request comes from this machine, so its own hosts file or a private network may change the result.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Generator
from http.client import HTTPMessage
from urllib.parse import urlsplit

from aisaas.cli.checklist.findings import Finding, fail, ok, skipped
from aisaas.settings import Settings

ANSWER_SECONDS = 5
HEALTH = "/health"
HSTS = "Strict-Transport-Security"
LATER = "run this again after the deployment; see docs/deploy.md"


def look(config: Settings) -> Generator[Finding]:
    if urlsplit(config.url).scheme != "https":
        yield skipped("address", f"{config.url} is not https", "set APP_URL to the https address")
        yield skipped(
            "plain http", "the app is only served over http", "set APP_URL to the https address"
        )
        return
    yield _secure(config.url)
    if urlsplit(config.url).port is not None:
        yield skipped(
            "plain http",
            f"{config.url} has a port, so there is no http address next to it",
            "make sure that nothing serves the app over http",
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
            f"browsers will warn about {url}: {said}",
            "let the proxy obtain a certificate for that name; its log says why it couldn't",
        )
    except (OSError, http.client.HTTPException):
        return skipped("address", f"nothing answers at {url} yet", LATER)
    if status != http.client.OK:
        return fail(
            "address",
            f"{url}{HEALTH} answers {status}",
            "point the proxy to the app, and make sure that the app is running",
        )
    if HSTS not in headers:
        return fail(
            "address",
            f"{url} answers without {HSTS}",
            "make the proxy pass on the app's headers; the app sends it if APP_URL is https",
        )
    return ok("address", f"{url} answers, with a trusted certificate and HSTS")


def plain_http(url: str) -> Finding:
    """Whether http redirects to https."""
    try:
        status, headers = _get(url)
    except (OSError, http.client.HTTPException):
        return ok("plain http", "closed")
    if not headers.get("Location", "").startswith("https://"):
        return fail(
            "plain http",
            f"{url} answers {status} instead of redirecting to https",
            "make the proxy redirect http to https (Caddy does it automatically)",
        )
    return ok("plain http", "redirects to https")


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
