"""What the server is told, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aisaas.embedded.serving import CannotStartError, read_port, refuse_outside_development

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Durations are in seconds. Secrets are kept out of `repr`."""

    database_url: str = field(repr=False)
    port: int
    public_url: str
    site_url: str
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    autoconfirm: bool = True
    jwt_ttl: int = 3600
    mail_interval: int = 60

    @property
    def issuer(self) -> str:
        return f"{self.public_url}/auth/v1"


class MisconfiguredError(CannotStartError):
    """Variables are missing or malformed; the message names all of them."""


def read_database_url(environment: Mapping[str, str]) -> str:
    refuse_outside_development(environment, "The embedded auth server")
    url = environment.get("AUTH_DATABASE_URL", "")
    if not url:
        raise MisconfiguredError("AUTH_DATABASE_URL is missing")
    return url


def read_config(environment: Mapping[str, str]) -> Config:
    """Raises `MisconfiguredError` naming everything that is wrong, in one line."""
    refuse_outside_development(environment, "The embedded auth server")
    wrong: list[str] = []
    required = (
        "AUTH_DATABASE_URL",
        "AUTH_PORT",
        "AUTH_PUBLIC_URL",
        "AUTH_PUBLISHABLE_KEY",
        "AUTH_SECRET_KEY",
        "AUTH_SITE_URL",
    )
    wrong += [f"{name} is missing" for name in required if not environment.get(name)]
    port = 0
    if environment.get("AUTH_PORT"):
        try:
            port = read_port(environment, "AUTH_PORT")
        except ValueError as error:
            wrong.append(str(error))
    public_url = environment.get("AUTH_PUBLIC_URL", "").rstrip("/")
    if public_url and not _is_web_address(public_url):
        wrong.append("AUTH_PUBLIC_URL is not an http address")
    elif public_url and urlsplit(public_url).hostname not in LOOPBACK_NAMES:
        wrong.append("AUTH_PUBLIC_URL is not a loopback address")
    site_url = environment.get("AUTH_SITE_URL", "").rstrip("/")
    if site_url and not _is_web_address(site_url):
        wrong.append("AUTH_SITE_URL is not an http address")
    autoconfirm = environment.get("AUTH_AUTOCONFIRM", "").lower() or "true"
    if autoconfirm not in TRUE_WORDS + FALSE_WORDS:
        wrong.append("AUTH_AUTOCONFIRM is neither true nor false")
    jwt_ttl = _seconds(environment, "AUTH_JWT_TTL", 3600, wrong)
    mail_interval = _seconds(environment, "AUTH_MAIL_INTERVAL", 60, wrong)
    if wrong:
        raise MisconfiguredError("; ".join(wrong))
    return Config(
        database_url=environment["AUTH_DATABASE_URL"],
        port=port,
        public_url=public_url,
        site_url=site_url,
        publishable_key=environment["AUTH_PUBLISHABLE_KEY"],
        secret_key=environment["AUTH_SECRET_KEY"],
        autoconfirm=autoconfirm in TRUE_WORDS,
        jwt_ttl=jwt_ttl,
        mail_interval=mail_interval,
    )


def _is_web_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _seconds(environment: Mapping[str, str], name: str, default: int, wrong: list[str]) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit():
        wrong.append(f"{name} is not a whole number of seconds")
        return default
    return int(text)
