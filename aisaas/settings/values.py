"""The shape of a single value, as validators that fields name in their annotations.

A message never repeats a value that may be secret.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from email.utils import parseaddr
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

MIN_SECRET_LENGTH = 32
# As browsers write the Origin header: lower case, no path, no user, no default port.
ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9_]+(?:[.-]+[a-z0-9_]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
ORIGIN_SHAPE = (
    "write it as browsers do, like https://chat.example.com: scheme, host in lower case, and the "
    "port only where it isn't the usual one"
)
DEFAULT_PORTS = {"http": "80", "https": "443"}


def problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("settings", "{text}", {"text": text})


def split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on a port that is no number
    except ValueError as error:
        raise problem("is not a URL") from error
    return parts


def listed(secret: SecretStr | None) -> tuple[str, ...]:
    """The values of a secret that may hold several, comma separated."""
    text = secret.get_secret_value() if secret else ""
    return tuple(part.strip() for part in text.split(",") if part.strip())


# Targets of URLs ------------------------------------------------------------------------------------


def is_local(url: str) -> bool:
    address = _address(url)
    return is_loopback(url) or (address is not None and address.is_unspecified)


def is_loopback(url: str) -> bool:
    host = (split(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(url)
    return address is not None and address.is_loopback


def _address(url: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as the system's resolver would read it, 127.1 included; None when it is a name."""
    host = (split(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


# Validators -----------------------------------------------------------------------------------------


def _of_text(check: Callable[[str], None]) -> AfterValidator:
    """A validator of a string or a secret, unless it is not set."""

    def validate(value: str | SecretStr | None) -> str | SecretStr | None:
        if value is not None:
            check(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    return AfterValidator(validate)


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


# Comma separated in the environment.
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


def _is_origin(text: str) -> bool:
    found = ORIGIN.fullmatch(text)
    return (
        found is not None
        and found["port"] != DEFAULT_PORTS[found["scheme"]]
        and bool(split(text).hostname)
    )


def _origin(text: str) -> None:
    if not _is_origin(text):
        raise problem(ORIGIN_SHAPE)


def _exact_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not _is_origin(origin):
            raise problem(f"{origin!r} is not an exact origin; {ORIGIN_SHAPE}, and no wildcard")
    return origins


def _url(schemes: set[str], shape: str) -> Callable[[str], None]:
    """A URL with a host, by one of the schemes."""

    def check(text: str) -> None:
        parts = split(text)
        if parts.scheme not in schemes or not parts.hostname:
            raise problem(f"should look like {shape}")

    return check


def _smtp_url(text: str) -> None:
    _url({"smtp", "smtps"}, "smtp://user:password@host:587, or smtps://")(text)
    parts = split(text)
    if (parts.username is None) != (parts.password is None):
        raise problem("has a user or a password without the other")


def _base_url(value: str | None) -> str | None:
    if value is not None:
        _url({"http", "https"}, "https://host or http://host:port")(value)
        parts = split(value)
        if parts.username or parts.password:
            # This value is no SecretStr: it is shown in status and logs.
            raise problem("must not carry a user or a password")
    return value.rstrip("/") if value else value


def _is_mailbox(text: str) -> bool:
    """One address that mail can come from, with or without a name."""
    name, address = parseaddr(text)
    if not address or not f"{name}{address}".isprintable() or address not in text:
        return False
    try:
        validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    # Parsed and reassembled it must equal the input, so it's a single address.
    return text.replace('"', "") in {address, f"<{address}>", f"{name} <{address}>"}


def _address_alone(text: str) -> None:
    if parseaddr(text) != ("", text) or not _is_mailbox(text):
        raise problem("should look like support@example.com")


def _mailbox(text: str) -> None:
    if not _is_mailbox(text):
        raise problem("should look like mail@example.com or Name <mail@example.com>")


def _long_secret(text: str) -> None:
    if len(text) < MIN_SECRET_LENGTH:
        raise problem(f"needs at least {MIN_SECRET_LENGTH} characters")


def _each(check: Callable[[str], bool], message: str) -> AfterValidator:
    """A validator of every value of a secret that may hold several."""

    def validate(value: SecretStr | None) -> SecretStr | None:
        if not all(check(part) for part in listed(value)):
            raise problem(message)
        return value

    return AfterValidator(validate)


def not_starting_with(prefix: str, message: str) -> AfterValidator:
    def check(text: str) -> None:
        if text.startswith(prefix):
            raise problem(message)

    return _of_text(check)


def starting_with(*prefixes: str) -> AfterValidator:
    def check(text: str) -> None:
        if not text.startswith(prefixes):
            raise problem(f"should start with one of {', '.join(prefixes)}")

    return _of_text(check)


ORIGIN_URL = _of_text(_origin)
EXACT_ORIGINS = AfterValidator(_exact_origins)
POSTGRES_URL = _of_text(
    _url({"postgresql", "postgres"}, "postgresql://user:password@host:port/database")
)
REDIS_URL = _of_text(_url({"redis", "rediss"}, "redis://:password@host:6379/0"))
SMTP_URL = _of_text(_smtp_url)
HOOK_URL = _of_text(_url({"http", "https"}, "https://host/path"))
LINK = _of_text(_url({"http", "https"}, "https://example.com/terms"))
# The address of a server, without a slash at its end.
BASE_URL = AfterValidator(_base_url)
ADDRESS = _of_text(_address_alone)
MAILBOX = _of_text(_mailbox)
LONG_SECRET = _of_text(_long_secret)
LONG_SECRETS = _each(
    lambda secret: len(secret) >= MIN_SECRET_LENGTH,
    f"needs at least {MIN_SECRET_LENGTH} characters, each of several",
)
WEBHOOK_SECRETS = _each(
    lambda secret: secret.startswith("whsec_"), "should start with whsec_, each of several"
)
HEADERS = _each(lambda pair: "=" in pair, "should look like name=value, comma separated")
