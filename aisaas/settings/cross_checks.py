"""Problems between several values: one line each, the variable first."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from aisaas import providers
from aisaas.settings.fields import Fields
from aisaas.settings.payments import STRIPE_LIVE_KEYS, STRIPE_TEST_KEYS
from aisaas.settings.values import is_local, is_loopback


def problems(config: Fields) -> list[str]:
    return [*_missing(config), *_contradictions(config), *_mixed_environments(config)]


def _missing(config: Fields) -> list[str]:
    required = ["database_url", "redis_url", "supabase_url", "supabase_publishable_key"]
    required += ["supabase_secret_key", "session_secret"]
    if config.app_env != "development":
        required.append("app_url")
    if config.captcha_provider or config.captcha_site_key:
        required += ["captcha_provider", "captcha_site_key"]
    if config.smtp_url:
        required.append("mail_from")
    if config.alert_webhook_secret:
        required.append("alert_webhook_url")
    lines = [f"{name.upper()}: is not set" for name in required if getattr(config, name) is None]
    lines += providers.missing_variables(config.value_of)
    if not config.providers() and config.model_providers is None:
        lines.append(
            "OPENAI_API_KEY: no model provider is set; give OPENAI_API_KEY, ANTHROPIC_API_KEY, "
            "GEMINI_API_KEY, OLLAMA_API_BASE, or another one of .env.example"
        )
    return lines


def _contradictions(config: Fields) -> Iterator[str]:
    if config.retention_accounting_days < config.retention_records_days:
        yield (
            "RETENTION_ACCOUNTING_DAYS: must not be less than RETENTION_RECORDS_DAYS; what is "
            "kept as a record belongs to a period that has to be there"
        )


def _mixed_environments(config: Fields) -> Iterator[str]:
    stripe = config.stripe_secret_key.get_secret_value() if config.stripe_secret_key else ""
    if stripe.startswith(STRIPE_LIVE_KEYS) and config.app_env != "production":
        yield (
            f"STRIPE_SECRET_KEY: is a live key, and APP_ENV is {config.app_env}; "
            "live keys belong in production only"
        )
    if config.app_env == "development":
        return
    if stripe.startswith(STRIPE_TEST_KEYS) and config.app_env == "production":
        yield "STRIPE_SECRET_KEY: is a test key, and APP_ENV is production"
    yield from _embedded(config)
    if config.app_env == "production":
        yield from _unencrypted(config)
        yield from _local(config)


def _embedded(config: Fields) -> Iterator[str]:
    for name in (
        "embedded_parts",
        "embedded_confirm_email",
        "demo_api_base",
        "mailbox_url",
        "payments_url",
    ):
        if getattr(config, name):
            yield (
                f"{name.upper()}: nothing is embedded in {config.app_env}; "
                "set the variables of the real parts"
            )


def _unencrypted(config: Fields) -> Iterator[str]:
    for name in (
        "app_url",
        "supabase_url",
        "openai_api_base",
        "anthropic_api_base",
        "azure_api_base",
        "stripe_api_base",
    ):
        url: str | None = getattr(config, name)
        if url and urlsplit(url).scheme != "https":
            yield f"{name.upper()}: must be https in production"
    for provider in config.file_providers:
        if provider.key is not None and urlsplit(provider.base or "https:").scheme != "https":
            yield (
                f"MODEL_PROVIDERS: the base of {provider.id} must be https in production, because "
                "its key goes there"
            )
    hook = config.alert_webhook_url
    if hook is not None and urlsplit(hook.get_secret_value()).scheme != "https":
        yield "ALERT_WEBHOOK_URL: must be https in production"
    if any(urlsplit(origin).scheme != "https" for origin in config.allowed_origins):
        yield "ALLOWED_ORIGINS: must be https in production"


def _local(config: Fields) -> Iterator[str]:
    """Local addresses in production, which may be meant for an embedded part."""
    addresses = {"app_url": config.app_url, "supabase_url": config.supabase_url}
    datastores = {
        "redis_url": config.redis_url,
        "database_url": config.database_url,
        "service_database_url": config.service_database_url,
        "migration_database_url": config.migration_database_url,
    }
    for name, value in addresses.items():
        if value and is_local(value):
            yield f"{name.upper()}: points to this machine, and APP_ENV is production"
    for name, value in datastores.items():
        url = value.get_secret_value() if value else ""
        if not is_local(url) or (config.allow_local_datastores and is_loopback(url)):
            continue
        yield (
            f"{name.upper()}: points to this machine, and APP_ENV is production; if your own "
            "Postgres or Redis runs here, give its loopback address (127.0.0.1) and set "
            "ALLOW_LOCAL_DATASTORES=true"
        )
