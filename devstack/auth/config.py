"""The server's settings, read once from the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from devstack.auth.providers import PROVIDERS
from devstack.serving import CannotStartError, read_port, refuse_outside_development

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")
# What hashing one password takes; argon2 takes no less than 8.
PASSWORD_KIB = 19 * 1024
PASSWORD_KIB_BOUNDS = (8, 1024 * 1024)
# Supabase recommends no less than 8 characters, and accepts no less than 6.
PASSWORD_MINIMUM = 8
PASSWORD_MINIMUM_BOUNDS = (6, 72)
CAPTCHA_VENDORS = ("turnstile", "hcaptcha")
# Supabase's own default: its server verifies, then leads to the site.
CONFIRMATION_URL = "{confirmation_url}"
PLACEHOLDER = re.compile(r"\{(\w*)\}")
PLACEHOLDERS = (
    *("confirmation_url", "site_url", "token", "token_hash", "type"),
    *("redirect_to", "redirect_path"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captcha:
    """The captcha's vendor, and where its answers are verified."""

    provider: str
    secret: str = field(repr=False)
    verify_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Durations are in seconds. Secrets are kept out of `repr`."""

    database_url: str = field(repr=False)
    port: int
    smtp_port: int
    public_url: str
    site_url: str
    # Where else links may lead; patterns as in Supabase: `*` within a part, `**` across parts.
    redirect_urls: tuple[str, ...] = ()
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    autoconfirm: bool = True
    disable_signup: bool = False
    # Whether a new address has to be confirmed from the old one too.
    secure_email_change: bool = True
    # Whether a session older than a day needs a code by mail to set a new password.
    secure_password_change: bool = False
    # In characters.
    password_minimum: int = PASSWORD_MINIMUM
    providers: tuple[str, ...] = ()
    captcha: Captcha | None = None
    jwt_ttl: int = 3600
    mail_interval: int = 60
    password_kib: int = PASSWORD_KIB
    mail_link: str = CONFIRMATION_URL

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
    read = _Reader(environment)
    config = Config(
        database_url=read.required("AUTH_DATABASE_URL"),
        port=read.port("AUTH_PORT"),
        smtp_port=read.port("AUTH_SMTP_PORT"),
        public_url=read.loopback_address("AUTH_PUBLIC_URL"),
        site_url=read.web_address("AUTH_SITE_URL"),
        redirect_urls=read.names("AUTH_REDIRECT_URLS"),
        publishable_key=read.required("AUTH_PUBLISHABLE_KEY"),
        secret_key=read.required("AUTH_SECRET_KEY"),
        autoconfirm=read.truth("AUTH_AUTOCONFIRM", default=True),
        disable_signup=read.truth("AUTH_DISABLE_SIGNUP", default=False),
        secure_email_change=read.truth("AUTH_SECURE_EMAIL_CHANGE", default=True),
        secure_password_change=read.truth("AUTH_SECURE_PASSWORD_CHANGE", default=False),
        password_minimum=read.number(
            "AUTH_PASSWORD_MINIMUM", PASSWORD_MINIMUM, PASSWORD_MINIMUM_BOUNDS
        ),
        providers=read.providers("AUTH_PROVIDERS"),
        captcha=read.captcha(),
        jwt_ttl=read.seconds("AUTH_JWT_TTL", 3600),
        mail_interval=read.seconds("AUTH_MAIL_INTERVAL", 60),
        password_kib=read.number("AUTH_PASSWORD_KIB", PASSWORD_KIB, PASSWORD_KIB_BOUNDS),
        mail_link=read.mail_link("AUTH_MAIL_LINK"),
    )
    if read.wrong:
        raise MisconfiguredError("; ".join(read.wrong))
    return config


class _Reader:
    """Reads on after a mistake, so that all of them are reported together."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.wrong: list[str] = []

    def text(self, name: str) -> str:
        return self._environment.get(name, "").strip()

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            self.wrong.append(f"{name} is missing")
        return value

    def port(self, name: str) -> int:
        if not self.required(name):
            return 0
        try:
            return read_port(self._environment, name)
        except ValueError as error:
            self.wrong.append(str(error))
            return 0

    def web_address(self, name: str) -> str:
        url = self.required(name).rstrip("/")
        if url and not _is_web_address(url):
            self.wrong.append(f"{name} is not an http address")
        return url

    def loopback_address(self, name: str) -> str:
        url = self.web_address(name)
        if _is_web_address(url) and urlsplit(url).hostname not in LOOPBACK_NAMES:
            self.wrong.append(f"{name} is not a loopback address")
        return url

    def truth(self, name: str, *, default: bool) -> bool:
        word = self.text(name).lower() or str(default).lower()
        if word not in TRUE_WORDS + FALSE_WORDS:
            self.wrong.append(f"{name} is neither true nor false")
        return word in TRUE_WORDS

    def seconds(self, name: str, default: int) -> int:
        text = self.text(name) or str(default)
        if not text.isascii() or not text.isdigit():
            self.wrong.append(f"{name} is not a whole number of seconds")
            return default
        return int(text)

    def number(self, name: str, default: int, bounds: tuple[int, int]) -> int:
        text = self.text(name) or str(default)
        least, most = bounds
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            self.wrong.append(f"{name} is not a whole number from {least} to {most}")
            return default
        return int(text)

    def names(self, name: str) -> tuple[str, ...]:
        parts = (part.strip() for part in self.text(name).split(","))
        return tuple(dict.fromkeys(part for part in parts if part))

    def providers(self, name: str) -> tuple[str, ...]:
        names = self.names(name)
        self.wrong += [f"{name} doesn't know {one}" for one in names if one not in PROVIDERS]
        return names

    def captcha(self) -> Captcha | None:
        names = ("AUTH_CAPTCHA_PROVIDER", "AUTH_CAPTCHA_SECRET", "AUTH_CAPTCHA_VERIFY_URL")
        if not any(self.text(name) for name in names):
            return None
        provider, secret = (self.required(name) for name in names[:2])
        if provider and provider not in CAPTCHA_VENDORS:
            self.wrong.append(f"{names[0]} is none of {', '.join(CAPTCHA_VENDORS)}")
        return Captcha(provider=provider, secret=secret, verify_url=self.web_address(names[2]))

    def mail_link(self, name: str) -> str:
        template = self.text(name) or CONFIRMATION_URL
        unknown = [word for word in PLACEHOLDER.findall(template) if word not in PLACEHOLDERS]
        self.wrong += [f"{name} doesn't know {{{word}}}" for word in unknown]
        if not template.startswith(("{confirmation_url}", "{site_url}", "http://", "https://")):
            self.wrong.append(f"{name} doesn't begin with an address")
        return template


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
