"""What the settings alone show; nothing is called."""

from __future__ import annotations

import ipaddress
from collections.abc import Generator
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from starlette.responses import Response

from aisaas.accounts.sessions import cookie_name
from aisaas.api.forms import keep_session
from aisaas.cli.checklist.findings import Finding, fail, ok, skipped, warn
from aisaas.settings import MIN_SECRET_LENGTH, Settings

# A random secret of the minimum length has more of them than a sentence or a repeated word.
DISTINCT_CHARACTERS = 16


def look(config: Settings) -> Generator[Finding]:
    yield _environment(config)
    yield _origins(config)
    yield _cookies(config)
    yield _session_secret(config)
    yield _proxies(config)
    yield _sign_up(config)
    yield _provider_cap(config)


def _environment(config: Settings) -> Finding:
    embedded = ", ".join(config.embedded_parts)
    if config.app_env == "development":
        return fail(
            "environment",
            f"APP_ENV is development{f', with embedded {embedded}' if embedded else ''}",
            "set APP_ENV=production (or preview); then nothing is embedded, and keys must match",
        )
    return ok("environment", f"APP_ENV is {config.app_env}, nothing is embedded")


def _origins(config: Settings) -> Finding:
    plain = [origin for origin in config.origins if urlsplit(origin).scheme != "https"]
    if plain:
        return fail(
            "origins",
            f"{', '.join(plain)} is not https",
            "set APP_URL (and ALLOWED_ORIGINS) to the https addresses that users open",
        )
    return ok("origins", f"{', '.join(config.origins)}, all https")


def _cookies(config: Settings) -> Finding:
    """As a real response sets them."""
    name = cookie_name(app_env=config.app_env, secure=config.secure_cookies)
    response = Response()
    keep_session(response, name, "x", secure=config.secure_cookies)
    sent = SimpleCookie(response.headers["set-cookie"])[name]
    lacks = [
        what
        for what, there in {
            "Secure": sent["secure"],
            "HttpOnly": sent["httponly"],
            "SameSite": sent["samesite"].lower() in {"lax", "strict"},
            "bound to its host (__Host-)": name.startswith("__Host-")
            and sent["path"] == "/"
            and not sent["domain"],
        }.items()
        if not there
    ]
    if lacks:
        return fail(
            "cookies",
            f"{name} is not {', not '.join(lacks)}",
            "set APP_URL to an https address; the cookie's attributes follow from it",
        )
    return ok(
        "cookies", f"{name}: Secure, HttpOnly, SameSite={sent['samesite']}, bound to its host"
    )


def _session_secret(config: Settings) -> Finding:
    value = config.session_secret.get_secret_value() if config.session_secret else ""
    if len(value) < MIN_SECRET_LENGTH or len(set(value)) < DISTINCT_CHARACTERS:
        return fail(
            "session secret",
            "is too short or easy to guess",
            "SESSION_SECRET: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
        )
    return ok("session secret", f"{len(value)} characters")


def _proxies(config: Settings) -> Finding:
    if config.secure_cookies and config.trusted_proxies == 0:
        return fail(
            "trusted proxies",
            "0 behind https: every visitor appears with the proxy's address and shares its limits",
            "set TRUSTED_PROXIES to the number of your proxies in front of the app",
        )
    if not config.secure_cookies:
        return skipped(
            "trusted proxies", "nothing terminates TLS here", "set APP_URL and TRUSTED_PROXIES"
        )
    return ok("trusted proxies", f"{config.trusted_proxies}")


def _sign_up(config: Settings) -> Finding:
    if config.sign_up_mode == "open" and config.captcha_provider is None:
        return warn(
            "sign-up",
            "open to everyone without a captcha: bots can create accounts to get free tokens",
            "set CAPTCHA_PROVIDER and CAPTCHA_SITE_KEY, or SIGN_UP_MODE=invitation",
        )
    with_captcha = f", with {config.captcha_provider}" if config.captcha_provider else ""
    return ok("sign-up", f"{config.sign_up_mode}{with_captcha}")


def _provider_cap(config: Settings) -> Finding:
    billed = sorted(each.id for each in config.provider_access().values() if each.billed)
    if not billed:
        return ok("provider's own cap", "no provider that charges for usage")
    return skipped(
        "provider's own cap",
        f"can't be read from {' or '.join(billed)}",
        "make sure that a monthly spending limit is set in the provider's dashboard: it is the last line of defense",
    )


def is_near(url: str) -> bool:
    """Whether an address is on this machine or in a private network, where TLS isn't required."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A name without a dot belongs to a container network or to this machine.
        return "." not in host or host.endswith((".localhost", ".internal"))
    return address.is_private
