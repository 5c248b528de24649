"""The only reader of the environment: one frozen object, valid or not there at all.

`load()` reads the process environment and `.env`, and reports everything that is missing or
malformed together, by variable. Secrets are `SecretStr`; `browser_values()` is the allow-list of
what may reach a browser.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from decimal import Decimal
from email.utils import parseaddr
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from email_validator import EmailNotValidError, validate_email
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aisaas import providers
from aisaas.errors import ConfigurationError
from aisaas.providers import ModelProvider, ProvidersFileError

AppName = Annotated[str, Field(min_length=1, max_length=60)]
AppEnv = Literal["development", "preview", "production"]

PROJECT_ROOT = Path(__file__).resolve().parent.parent

MIN_SECRET_LENGTH = 32
STRIPE_TEST_KEYS = ("sk_test_", "rk_test_")
STRIPE_LIVE_KEYS = ("sk_live_", "rk_live_")
STRIPE_KEYS = STRIPE_TEST_KEYS + STRIPE_LIVE_KEYS
# Where to get each value; `.env.example` says the same in prose, the error report quotes these.
WHERE_TO_GET_IT = {
    "DATABASE_URL": "Supabase dashboard > Connect > Transaction pooler; postgresql://user:password@host:port/db",
    "SERVICE_DATABASE_URL": "like DATABASE_URL, for the login that may act as service_role",
    "MIGRATION_DATABASE_URL": "Supabase dashboard > Connect > Direct or Session pooler",
    "REDIS_URL": "your Redis host: redis://:password@host:6379/0, rediss:// for TLS",
    "SUPABASE_URL": "Supabase dashboard > Project Settings > Data API: https://<project>.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "Supabase dashboard > Project Settings > API Keys: sb_publishable_…",
    "SUPABASE_SECRET_KEY": "Supabase dashboard > Project Settings > API Keys: sb_secret_…",
    "SESSION_SECRET": "make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
    "CAPTCHA_SITE_KEY": "your captcha provider's dashboard; its secret key belongs into Supabase",
    "CAPTCHA_PROVIDER": "turnstile or hcaptcha, the one that is set up in Supabase",
    "OPENAI_API_KEY": "platform.openai.com > API keys: sk-…",
    "ANTHROPIC_API_KEY": "console.anthropic.com > API keys: sk-ant-…",
    "AZURE_API_BASE": "Azure portal > your OpenAI resource > Keys and Endpoint: https://<name>.openai.azure.com",
    "MODEL_PROVIDERS": "docs/providers.md has the format",
    "STRIPE_SECRET_KEY": "Stripe dashboard > Developers > API keys: sk_test_… or sk_live_…",
    "STRIPE_WEBHOOK_SECRET": "Stripe dashboard > Developers > Webhooks: whsec_…",
    "STRIPE_METER_WEBHOOK_SECRET": "Stripe dashboard > Developers > Webhooks, of the thin endpoint: whsec_…",
    "SMTP_URL": "your mail provider: smtp://user:password@host:587 or smtps://user:password@host:465",
    "MAIL_FROM": "an address your mail provider may send for: Name <mail@example.com>",
    "APP_URL": "the address users type, for example https://chat.example.com",
}


# As browsers write the Origin header: lower case, no path, no user, no default port.
ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9_]+(?:[.-]+[a-z0-9_]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
ORIGIN_SHAPE = (
    "write it as browsers do, like https://chat.example.com: scheme, host in lower case, and the "
    "port only where it isn't the usual one"
)
# Sign-in providers by the names that Supabase gives them, and as users know them.
OAUTH_PROVIDERS = {
    "apple": "Apple",
    "azure": "Microsoft",
    "bitbucket": "Bitbucket",
    "discord": "Discord",
    "facebook": "Facebook",
    "github": "GitHub",
    "gitlab": "GitLab",
    "google": "Google",
    "linkedin_oidc": "LinkedIn",
    "slack_oidc": "Slack",
}
# Each may hold several, comma separated, while one is being replaced.
LISTS_OF_SECRETS = {
    "session_secret_previous",
    "stripe_webhook_secret",
    "stripe_meter_webhook_secret",
}
DEFAULT_PORTS = {"http": "80", "https": "443"}


class Settings(BaseSettings):
    """What the operator decided. Field `x_y` is the variable `X_Y`."""

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    # The instance
    app_env: AppEnv = "development"
    app_name: AppName = "AI SaaS"
    port: Annotated[int, Field(ge=1, le=65535)] = 3000
    # Where `worker` serves its figures and its health.
    worker_port: Annotated[int, Field(ge=1, le=65535)] = 9464
    app_url: str | None = None
    # Linked at the foot of the public pages, where they are set.
    terms_url: Annotated[str, Field(max_length=500)] | None = None
    privacy_url: Annotated[str, Field(max_length=500)] | None = None
    contact_email: Annotated[str, Field(max_length=254)] | None = None
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    aisaas_data_dir: Path = PROJECT_ROOT / ".aisaas"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Unless it is said, what machines read where machines run it.
    log_format: Literal["text", "json"] | None = None
    # Whoever has it may read /metrics from elsewhere.
    metrics_token: SecretStr | None = None
    # Traces are off without an address to send them to.
    otel_exporter_otlp_endpoint: str | None = None
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    # Where the states of open tabs live. Either way they are rebuilt from cookie and database.
    tab_states: Literal["memory", "redis"] = "memory"
    # Whether this process does the jobs that any process may do for all the others.
    run_jobs: bool = True
    shutdown_grace_seconds: Annotated[float, Field(ge=0, le=600)] = 10
    session_secret: SecretStr | None = None
    # What it was before, or will be: opens what it sealed, and seals nothing.
    session_secret_previous: SecretStr | None = None

    # Dependencies
    database_url: SecretStr | None = None
    service_database_url: SecretStr | None = None
    migration_database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    supabase_url: str | None = None
    supabase_publishable_key: SecretStr | None = None
    supabase_secret_key: SecretStr | None = None
    # Whether production may use a Postgres and a Redis on its own machine.
    allow_local_datastores: bool = False
    mailbox_url: str | None = None
    # Names of the parts `aisaas run` started itself, comma separated; set by it, not by hand.
    embedded_parts: Annotated[tuple[str, ...], NoDecode] = ()

    # Accounts
    sign_up_mode: Literal["open", "invitation", "closed"] = "open"
    oauth_providers: Annotated[tuple[str, ...], NoDecode] = ()
    captcha_provider: Literal["turnstile", "hcaptcha"] | None = None
    captcha_site_key: Annotated[str, Field(max_length=200)] | None = None
    # Whether the embedded sign-in server wants addresses confirmed by mail.
    embedded_confirm_email: bool = False
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    # What one address, or one account, may hold open in a process; the oldest gives way.
    connections_per_address: Annotated[int, Field(ge=8)] = 512
    sockets_per_address: Annotated[int, Field(ge=8)] = 300
    sockets_per_user: Annotated[int, Field(ge=2)] = 100
    sign_in_tries_per_account: Annotated[int, Field(ge=1)] = 10
    sign_in_tries_per_address: Annotated[int, Field(ge=1)] = 100
    sign_ups_per_address: Annotated[int, Field(ge=1)] = 20
    mails_per_account: Annotated[int, Field(ge=1)] = 5
    mails_per_address: Annotated[int, Field(ge=1)] = 30

    # Mails of our own; those about signing in are the sign-in server's.
    smtp_url: SecretStr | None = None
    mail_from: Annotated[str, Field(max_length=320)] | None = None

    # Where alerts about spending are posted besides being mailed. The address may carry a token.
    alert_webhook_url: SecretStr | None = None
    alert_webhook_secret: SecretStr | None = None

    # Models
    openai_api_key: SecretStr | None = None
    openai_api_base: str | None = None
    anthropic_api_key: SecretStr | None = None
    anthropic_api_base: str | None = None
    gemini_api_key: SecretStr | None = None
    mistral_api_key: SecretStr | None = None
    groq_api_key: SecretStr | None = None
    openrouter_api_key: SecretStr | None = None
    azure_api_key: SecretStr | None = None
    azure_api_base: str | None = None
    azure_api_version: Annotated[str, Field(max_length=40)] | None = None
    # Bedrock is on with its region; the keys alone are on many machines for other reasons.
    aws_region_name: Annotated[str, Field(pattern=r"^[a-z0-9-]{4,40}$")] | None = None
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    aws_bearer_token_bedrock: SecretStr | None = None
    deepseek_api_key: SecretStr | None = None
    xai_api_key: SecretStr | None = None
    togetherai_api_key: SecretStr | None = None
    fireworks_ai_api_key: SecretStr | None = None
    cerebras_api_key: SecretStr | None = None
    moonshot_api_key: SecretStr | None = None
    # A TOML or JSON file with any other provider, and with more keys and addresses of these.
    model_providers: Path | None = None
    ollama_api_base: str | None = None
    ollama_models: Annotated[tuple[str, ...], NoDecode] = ("llama3.2",)
    demo_api_base: str | None = None
    demo_api_key: SecretStr | None = None
    default_model: str | None = None
    model_catalogue: Path | None = None
    # What answers when a provider is in trouble, in this order, instead of what the catalogue says.
    fallback_models: Annotated[tuple[str, ...], NoDecode] = ()
    first_token_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    thinking_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 300
    token_gap_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    max_reply_tokens: Annotated[int, Field(ge=1, le=128_000)] = 4096
    max_message_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 32_000

    # Limits and caps
    free_requests_per_minute: Annotated[int, Field(ge=1)] = 10
    free_requests_per_day: Annotated[int, Field(ge=1)] = 100
    free_tokens_per_month: Annotated[int, Field(ge=0)] = 10_000
    free_parallel_replies: Annotated[int, Field(ge=1)] = 3
    pro_requests_per_minute: Annotated[int, Field(ge=1)] = 30
    pro_requests_per_day: Annotated[int, Field(ge=1)] = 2_000
    pro_tokens_per_month: Annotated[int, Field(ge=0)] = 2_000_000
    pro_parallel_replies: Annotated[int, Field(ge=1)] = 3
    pro_base_usd: Annotated[Decimal, Field(gt=0, max_digits=8, decimal_places=2)] = Decimal(20)
    pro_overage_usd_per_million: Annotated[
        Decimal, Field(gt=0, max_digits=10, decimal_places=4)
    ] = Decimal(10)
    pro_overage_cap_usd: Annotated[Decimal, Field(ge=0, max_digits=8, decimal_places=2)] = Decimal(
        20
    )
    pro_trial_days: Annotated[int, Field(ge=0, le=730)] = 14
    pro_trial_tokens: Annotated[int, Field(ge=0)] = 200_000
    business_requests_per_minute: Annotated[int, Field(ge=1)] = 60
    business_requests_per_day: Annotated[int, Field(ge=1)] = 10_000
    business_tokens_per_month: Annotated[int, Field(ge=0)] = 12_000_000
    business_parallel_replies: Annotated[int, Field(ge=1)] = 6
    business_base_usd: Annotated[Decimal, Field(gt=0, max_digits=8, decimal_places=2)] = Decimal(
        100
    )
    business_overage_usd_per_million: Annotated[
        Decimal, Field(gt=0, max_digits=10, decimal_places=4)
    ] = Decimal(8)
    business_overage_cap_usd: Annotated[Decimal, Field(ge=0, max_digits=8, decimal_places=2)] = (
        Decimal(100)
    )
    business_trial_days: Annotated[int, Field(ge=0, le=730)] = 0
    business_trial_tokens: Annotated[int, Field(ge=0)] = 0
    free_tier_daily_usd: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6)] = Decimal(
        5
    )
    total_daily_usd: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6)] = Decimal(50)

    # Payments
    stripe_secret_key: SecretStr | None = None
    # Another server that speaks Stripe's protocol; the embedded stand-in is one.
    stripe_api_base: str | None = None
    # Several, comma separated, while one is being rotated. Without one its endpoint is off.
    stripe_webhook_secret: SecretStr | None = None
    stripe_meter_webhook_secret: SecretStr | None = None
    past_due_grace_days: Annotated[int, Field(ge=0, le=90)] = 7
    # What a full refund or a lost dispute does to the plan that was paid with it.
    after_full_refund: Literal["suspend", "cancel", "nothing"] = "suspend"
    # The start page of the embedded stand-in.
    payments_url: str | None = None

    # How long records are kept (docs/operations/retention.md). The payment provider redelivers
    # events for 30 days, so what keeps them from being handled twice stays longer.
    retention_deleted_conversations_days: Annotated[int, Field(ge=0, le=3650)] = 1
    retention_records_days: Annotated[int, Field(ge=31, le=3650)] = 90
    retention_accounting_days: Annotated[int, Field(ge=90, le=3650)] = 400

    @field_validator(
        "allowed_origins",
        "embedded_parts",
        "fallback_models",
        "ollama_models",
        "oauth_providers",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    # Pydantic runs "before" validators in reverse order of declaration.
    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """A blank variable means "not set"; blanks around a value came with pasting it."""
        if isinstance(value, str):
            value = value.strip()
            if not value and info.field_name is not None:
                return cls.model_fields[info.field_name].get_default()
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _exact_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _is_origin(origin):
                raise _problem(
                    f"{origin!r} is not an exact origin; {ORIGIN_SHAPE}, and no wildcard"
                )
        return value

    @field_validator("app_url")
    @classmethod
    def _app_url_is_origin(cls, value: str | None) -> str | None:
        if value is not None and not _is_origin(value):
            raise _problem(ORIGIN_SHAPE)
        return value

    @field_validator("oauth_providers")
    @classmethod
    def _known_providers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in OAUTH_PROVIDERS]:
            known = ", ".join(sorted(OAUTH_PROVIDERS))
            raise _problem(f"doesn't know {', '.join(unknown)}; it knows {known}")
        return tuple(dict.fromkeys(value))

    @field_validator("database_url", "service_database_url", "migration_database_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = _split(value.get_secret_value())
            if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname:
                raise _problem("should look like postgresql://user:password@host:port/database")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = _split(value.get_secret_value())
            if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
                raise _problem("should look like redis://:password@host:6379/0")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = _split(value.get_secret_value())
            if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
                raise _problem("should look like smtp://user:password@host:587, or smtps://")
            if (parts.username is None) != (parts.password is None):
                raise _problem("has a user or a password without the other")
        return value

    @field_validator("alert_webhook_url")
    @classmethod
    def _alert_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = _split(value.get_secret_value())
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise _problem("should look like https://host/path")
        return value

    @field_validator("terms_url", "privacy_url")
    @classmethod
    def _link(cls, value: str | None) -> str | None:
        if value is not None:
            parts = _split(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise _problem("should look like https://example.com/terms")
        return value

    @field_validator("contact_email")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and (parseaddr(value) != ("", value) or not _is_mailbox(value)):
            raise _problem("should look like support@example.com")
        return value

    @field_validator("mail_from")
    @classmethod
    def _mail_from(cls, value: str | None) -> str | None:
        if value is not None and not _is_mailbox(value):
            raise _problem("should look like mail@example.com or Name <mail@example.com>")
        return value

    @field_validator(
        "supabase_url",
        "openai_api_base",
        "anthropic_api_base",
        "azure_api_base",
        "ollama_api_base",
        "demo_api_base",
        "stripe_api_base",
        "otel_exporter_otlp_endpoint",
    )
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = _split(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise _problem("should look like https://host or http://host:port")
            if parts.username or parts.password:
                # This value is no SecretStr: it is shown in status and logs.
                raise _problem("must not carry a user or a password")
        return value.rstrip("/") if value else value

    @field_validator("otel_exporter_otlp_headers")
    @classmethod
    def _pairs(cls, value: SecretStr | None) -> SecretStr | None:
        if not all("=" in pair for pair in _listed(value)):
            raise _problem("should look like name=value, comma separated")
        return value

    @field_validator("stripe_secret_key")
    @classmethod
    def _stripe_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(STRIPE_KEYS):
            raise _problem(f"should start with one of {', '.join(STRIPE_KEYS)}")
        return value

    @field_validator("stripe_webhook_secret", "stripe_meter_webhook_secret")
    @classmethod
    def _webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if not all(secret.startswith("whsec_") for secret in _listed(value)):
            raise _problem("should start with whsec_, each of several")
        return value

    @field_validator("session_secret", "alert_webhook_secret", "metrics_token")
    @classmethod
    def _long_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET_LENGTH:
            raise _problem(f"needs at least {MIN_SECRET_LENGTH} characters")
        return value

    @field_validator("session_secret_previous")
    @classmethod
    def _long_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if any(len(secret) < MIN_SECRET_LENGTH for secret in _listed(value)):
            raise _problem(f"needs at least {MIN_SECRET_LENGTH} characters, each of several")
        return value

    @field_validator("supabase_publishable_key")
    @classmethod
    def _not_a_secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().startswith("sb_secret_"):
            raise _problem("this is a secret key; the publishable one starts with sb_publishable_")
        return value

    @field_validator("supabase_secret_key")
    @classmethod
    def _not_a_publishable_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().startswith("sb_publishable_"):
            raise _problem("this is the publishable key; the secret one starts with sb_secret_")
        return value

    _file_providers: tuple[ModelProvider, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _whole(self) -> Self:
        problems = self._read_providers()
        problems += [*self._missing(), *self._contradictions(), *self._mixed_environments()]
        if problems:
            # One custom error carries all of them, so that they are reported together.
            raise PydanticCustomError("settings", "{text}", {"text": "\n".join(problems)})
        return self

    def _read_providers(self) -> list[str]:
        if self.model_providers is None:
            return []
        try:
            self._file_providers = providers.read_file(self.model_providers, _variable)
        except ProvidersFileError as error:
            return [f"MODEL_PROVIDERS: {'; '.join(error.problems)}"]
        return []

    def _value_of(self, variable: str) -> object:
        return getattr(self, variable.lower())

    def _missing(self) -> list[str]:
        missing: list[str] = []
        required = ["database_url", "redis_url", "supabase_url", "supabase_publishable_key"]
        required += ["supabase_secret_key", "session_secret"]
        if self.app_env != "development":
            required.append("app_url")
        if self.captcha_provider or self.captcha_site_key:
            required += ["captcha_provider", "captcha_site_key"]
        if self.smtp_url:
            required.append("mail_from")
        if self.alert_webhook_secret:
            required.append("alert_webhook_url")
        missing += [name.upper() for name in required if getattr(self, name) is None]
        lines = [f"{name}: is not set" for name in missing]
        lines += providers.missing_variables(self._value_of)
        if not self.providers() and self.model_providers is None:
            lines.append(
                "OPENAI_API_KEY: no model provider is set; give OPENAI_API_KEY, ANTHROPIC_API_KEY, "
                "GEMINI_API_KEY, OLLAMA_API_BASE, or another one of .env.example"
            )
        return lines

    def _contradictions(self) -> list[str]:
        if self.retention_accounting_days < self.retention_records_days:
            return [
                "RETENTION_ACCOUNTING_DAYS: must not be less than RETENTION_RECORDS_DAYS; what is "
                "kept as a record belongs to a period that has to be there"
            ]
        return []

    def _mixed_environments(self) -> list[str]:
        problems: list[str] = []
        stripe = self.stripe_secret_key.get_secret_value() if self.stripe_secret_key else ""
        if stripe.startswith(STRIPE_LIVE_KEYS) and self.app_env != "production":
            problems.append(
                f"STRIPE_SECRET_KEY: is a live key, and APP_ENV is {self.app_env}; "
                "live keys belong in production only"
            )
        if self.app_env == "development":
            return problems
        if stripe.startswith(STRIPE_TEST_KEYS) and self.app_env == "production":
            problems.append("STRIPE_SECRET_KEY: is a test key, and APP_ENV is production")
        problems += [
            f"{name.upper()}: nothing is embedded in {self.app_env}; "
            "set the variables of the real parts"
            for name in (
                "embedded_parts",
                "embedded_confirm_email",
                "demo_api_base",
                "mailbox_url",
                "payments_url",
            )
            if getattr(self, name)
        ]
        if self.app_env == "production":
            for name in (
                "app_url",
                "supabase_url",
                "openai_api_base",
                "anthropic_api_base",
                "azure_api_base",
                "stripe_api_base",
            ):
                url: str | None = getattr(self, name)
                if url and urlsplit(url).scheme != "https":
                    problems.append(f"{name.upper()}: must be https in production")
            problems += [
                f"MODEL_PROVIDERS: the base of {provider.id} must be https in production, because "
                "its key goes there"
                for provider in self._file_providers
                if provider.key is not None
                and urlsplit(provider.base or "https:").scheme != "https"
            ]
            hook = self.alert_webhook_url
            if hook is not None and urlsplit(hook.get_secret_value()).scheme != "https":
                problems.append("ALERT_WEBHOOK_URL: must be https in production")
            if any(urlsplit(origin).scheme != "https" for origin in self.allowed_origins):
                problems.append("ALLOWED_ORIGINS: must be https in production")
            problems += self._local()
        return problems

    def _local(self) -> list[str]:
        """What production looks for on its own machine, where an embedded part may be meant."""
        addresses = {"app_url": self.app_url, "supabase_url": self.supabase_url}
        datastores = {
            "redis_url": self.redis_url,
            "database_url": self.database_url,
            "service_database_url": self.service_database_url,
            "migration_database_url": self.migration_database_url,
        }
        problems = [
            f"{name.upper()}: points to this machine, and APP_ENV is production"
            for name, value in addresses.items()
            if value and _is_local(value)
        ]
        for name, value in datastores.items():
            url = value.get_secret_value() if value else ""
            if not _is_local(url) or (self.allow_local_datastores and _is_loopback(url)):
                continue
            problems.append(
                f"{name.upper()}: points to this machine, and APP_ENV is production; if your own "
                "Postgres or Redis runs here, give its loopback address (127.0.0.1) and set "
                "ALLOW_LOCAL_DATASTORES=true"
            )
        return problems

    # What the rest of the code asks for

    @property
    def url(self) -> str:
        """The address users type, without a trailing slash."""
        return self.app_url or f"http://127.0.0.1:{self.port}"

    @property
    def origins(self) -> tuple[str, ...]:
        """Every origin a socket or a form may come from, exactly."""
        own = (self.url,)
        if self.app_env == "development" and self.app_url is None:
            own += (f"http://localhost:{self.port}",)
        return own + self.allowed_origins

    @property
    def log_form(self) -> Literal["text", "json"]:
        return self.log_format or ("text" if self.app_env == "development" else "json")

    @property
    def trace_headers(self) -> dict[str, str]:
        """What the collector wants besides the spans, by name."""
        pairs = (pair.partition("=") for pair in _listed(self.otel_exporter_otlp_headers))
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def secure_cookies(self) -> bool:
        return self.url.startswith("https://")

    def providers(self) -> frozenset[str]:
        """The ids of the model providers that can be called."""
        return frozenset(self.provider_access())

    def provider_access(self) -> Mapping[str, ModelProvider]:
        """The same with all that is needed to call them."""
        return providers.by_id((*providers.from_variables(self._value_of), *self._file_providers))

    @property
    def session_secrets(self) -> tuple[str, ...]:
        """The one that seals, then those that only open."""
        assert self.session_secret is not None
        return (self.session_secret.get_secret_value(), *_listed(self.session_secret_previous))

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Any of which may have signed a snapshot event."""
        return _listed(self.stripe_webhook_secret)

    @property
    def meter_webhook_secrets(self) -> tuple[str, ...]:
        """Any of which may have signed a thin event."""
        return _listed(self.stripe_meter_webhook_secret)

    @property
    def stripe_is_live(self) -> bool:
        """Whether real money moves."""
        key = self.stripe_secret_key
        return key is not None and key.get_secret_value().startswith(STRIPE_LIVE_KEYS)

    def secrets(self) -> tuple[tuple[str, str], ...]:
        """(variable, value) of every secret, to prove that none reached the front end.

        The publishable key is a SecretStr only so that it stays out of logs; it is no secret.
        """
        found: list[tuple[str, str]] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr) and name != "supabase_publishable_key":
                # Whoever finds one of several finds it without its neighbours.
                each = _listed(value) if name in LISTS_OF_SECRETS else (value.get_secret_value(),)
                found += [(name.upper(), secret) for secret in each]
        return (*found, *providers.secrets_of(self._file_providers))

    def browser_values(self) -> dict[str, str]:
        """The allow-list: all that a browser may know of these settings."""
        return self.built_values() | {
            "sign_up_mode": self.sign_up_mode,
            "oauth_providers": ",".join(self.oauth_providers),
            "captcha_provider": self.captcha_provider or "",
            "captcha_site_key": self.captcha_site_key or "",
            "terms_url": self.terms_url or "",
            "privacy_url": self.privacy_url or "",
            "contact_email": self.contact_email or "",
            # Only where mails don't leave the machine anyway.
            "mailbox_url": (self.mailbox_url or "") if self.app_env == "development" else "",
            "payments_url": (self.payments_url or "") if self.app_env == "development" else "",
        }

    def built_values(self) -> dict[str, str]:
        """Those of them that a build of the pages contains; another value needs another build."""
        return {"app_name": self.app_name}


def _variable(name: str) -> str | None:
    """A variable that isn't a setting of its own, because a file named it; blank is not set."""
    path = Settings.model_config.get("env_file")
    written = dotenv_values(str(path), interpolate=False) if path else {}
    for value in (os.environ.get(name), written.get(name)):
        if value and value.strip():
            return value.strip()
    return None


def _listed(secret: SecretStr | None) -> tuple[str, ...]:
    text = secret.get_secret_value() if secret else ""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_origin(text: str) -> bool:
    found = ORIGIN.fullmatch(text)
    return (
        found is not None
        and found["port"] != DEFAULT_PORTS[found["scheme"]]
        and bool(_split(text).hostname)
    )


def _is_mailbox(text: str) -> bool:
    """One address that mail can come from, with or without a name."""
    name, address = parseaddr(text)
    if not address or not f"{name}{address}".isprintable() or address not in text:
        return False
    try:
        validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    # What was taken apart and put together again is what was written: not one of several.
    return text.replace('"', "") in {address, f"<{address}>", f"{name} <{address}>"}


def _is_local(url: str) -> bool:
    address = _address(url)
    return _is_loopback(url) or (address is not None and address.is_unspecified)


def _is_loopback(url: str) -> bool:
    host = (_split(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(url)
    return address is not None and address.is_loopback


def _address(url: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as the system's resolver would read it, 127.1 included; None when it is a name."""
    host = (_split(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _split(url: str):
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on a port that is no number
    except ValueError as error:
        raise _problem("is not a URL") from error
    return parts


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("settings", "{text}", {"text": text})


def _lines(error: ErrorDetails) -> list[str]:
    if not error["loc"]:
        return error["msg"].splitlines()
    variable = str(error["loc"][0]).upper()
    # The message only, never the input: the input may be a secret.
    return [f"{variable}: {error['msg']}"]


def load(**overrides: object) -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: with every problem, one line a variable, and where to get the value.
    """
    try:
        return Settings(**overrides)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        raise ConfigurationError(tuple(_problems(error, overrides))) from None


def _problems(error: ValidationError, overrides: Mapping[str, object]) -> list[str]:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [line for detail in details for line in _lines(detail)]
    if malformed := {str(detail["loc"][0]) for detail in details if detail["loc"]}:
        # What spans several variables is only looked at when each is sound. So look once more as
        # if the malformed ones weren't set, to report everything together.
        unset = {name: Settings.model_fields[name].get_default() for name in malformed}
        try:
            Settings(**{**overrides, **unset})  # pyright: ignore[reportArgumentType]
        except ValidationError as whole:
            named = {name.upper() for name in malformed}
            found = whole.errors(include_url=False, include_context=False, include_input=False)
            lines += [
                line
                for detail in found
                for line in detail["msg"].splitlines()
                if line.split(":", 1)[0] not in named
            ]
    return [_with_hint(line) for line in lines]


def _with_hint(line: str) -> str:
    hint = WHERE_TO_GET_IT.get(line.split(":", 1)[0])
    return f"{line} ({hint})" if hint else line


class _Built(BaseSettings):
    """What a build of the pages takes from the environment, where no other setting need be."""

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        env_ignore_empty=True,
    )

    app_name: AppName = "AI SaaS"


def built_values() -> dict[str, str]:
    """The same as `Settings.built_values`, also on a build machine, which has no secrets."""
    return {"app_name": _Built().app_name}


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load()
