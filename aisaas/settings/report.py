"""Reads the environment, and reports all that is wrong with it together, by variable."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aisaas.errors import ConfigurationError
from aisaas.settings.whole import Settings

# The place to get each value; `.env.example` says the same in prose, the error report quotes these.
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
    details = _details(error)
    lines = [line for detail in details for line in _lines(detail)]
    if malformed := {str(detail["loc"][0]) for detail in details if detail["loc"]}:
        # Checks across variables only run when each is valid. So check again as if the malformed
        # ones weren't set, to report everything together.
        unset = {name: Settings.model_fields[name].get_default() for name in malformed}
        try:
            Settings(**{**overrides, **unset})  # pyright: ignore[reportArgumentType]
        except ValidationError as whole:
            named = {name.upper() for name in malformed}
            lines += [
                line
                for detail in _details(whole)
                for line in detail["msg"].splitlines()
                if line.split(":", 1)[0] not in named
            ]
    return [_with_hint(line) for line in lines]


def _details(error: ValidationError) -> list[ErrorDetails]:
    # The message only, never the input: the input may be a secret.
    return error.errors(include_url=False, include_context=False, include_input=False)


def _lines(error: ErrorDetails) -> list[str]:
    if not error["loc"]:
        return error["msg"].splitlines()
    return [f"{str(error['loc'][0]).upper()}: {error['msg']}"]


def _with_hint(line: str) -> str:
    hint = WHERE_TO_GET_IT.get(line.split(":", 1)[0])
    return f"{line} ({hint})" if hint else line
