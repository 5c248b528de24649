"""Which parts are embedded and which are real, decided by what is configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisaas.errors import ConfigurationError
from aisaas.providers import SWITCHES
from aisaas.settings import Settings, load

# The parts, in the order in which they start, and their names.
POSTGRES = "postgres"
VALKEY = "valkey"
AUTH = "auth"
DEMO_MODEL = "demo_model"
PAYMENTS = "payments"
TITLES = {
    POSTGRES: "Postgres",
    VALKEY: "Redis (Valkey)",
    AUTH: "Sign-in server",
    DEMO_MODEL: "Demo model",
    PAYMENTS: "Payments (Stripe fake)",
}

# A value of the right shape for each variable that a part will provide, so that everything else
# can be validated before anything is started.
_PLACEHOLDERS = {
    POSTGRES: {
        "database_url": "postgresql://app@127.0.0.1/postgres",
        "service_database_url": "postgresql://app@127.0.0.1/postgres",
        "migration_database_url": "postgresql://app@127.0.0.1/postgres",
    },
    VALKEY: {"redis_url": "redis://127.0.0.1"},
    AUTH: {
        "supabase_url": "http://127.0.0.1",
        "supabase_publishable_key": "sb_publishable_later",
        "supabase_secret_key": "sb_secret_later",
    },
    DEMO_MODEL: {"demo_api_base": "http://127.0.0.1", "demo_api_key": "later"},
    PAYMENTS: {
        "stripe_secret_key": "sk_test_later",
        "stripe_api_base": "http://127.0.0.1",
        "stripe_webhook_secret": "whsec_later",
        "stripe_meter_webhook_secret": "whsec_later",
        "payments_url": "http://127.0.0.1",
    },
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and the settings as far as they are known before it is started."""

    embedded: tuple[str, ...]
    settings: Settings


def plan(configured: Mapping[str, str]) -> Plan:
    """Decide, and validate everything that was configured.

    Raises:
        ConfigurationError: a value is missing or malformed, or real and embedded parts are mixed
            in a way that cannot work.
    """
    development = configured.get("APP_ENV", "development") == "development"
    embedded = _embedded(configured) if development else ()
    if problems := _impossible(configured, embedded):
        raise ConfigurationError(tuple(problems))
    placeholders = {name: value for part in embedded for name, value in _PLACEHOLDERS[part].items()}
    if development and "SESSION_SECRET" not in configured:
        placeholders["session_secret"] = "0" * 48
    # A part which is embedded brings its own addresses; a placeholder never hides a configured one.
    missing = {name: v for name, v in placeholders.items() if name.upper() not in configured}
    return Plan(embedded, load(**missing))


def _embedded(configured: Mapping[str, str]) -> tuple[str, ...]:
    real = {
        POSTGRES: "DATABASE_URL" in configured,
        VALKEY: "REDIS_URL" in configured,
        AUTH: "SUPABASE_URL" in configured,
        DEMO_MODEL: "DEMO_API_BASE" in configured or any(p in configured for p in SWITCHES),
        PAYMENTS: "STRIPE_SECRET_KEY" in configured,
    }
    return tuple(part for part in TITLES if not real[part])


def _impossible(configured: Mapping[str, str], embedded: tuple[str, ...]) -> list[str]:
    problems: list[str] = []
    if AUTH in embedded and POSTGRES not in embedded:
        problems.append(
            "SUPABASE_URL: is not set, but DATABASE_URL is. Sign-in and database belong together: "
            "the embedded sign-in server keeps its users in the embedded database. Set "
            "SUPABASE_URL and its two keys of the same project, or unset DATABASE_URL"
        )
    if POSTGRES in embedded and "SUPABASE_URL" in configured:
        problems.append(
            "DATABASE_URL: is not set, but SUPABASE_URL is. Sign-in and database belong together: "
            "profiles refer to the users which Supabase keeps in its own database. Set "
            "DATABASE_URL, SERVICE_DATABASE_URL and MIGRATION_DATABASE_URL of the same project, "
            "or unset SUPABASE_URL"
        )
    if AUTH in embedded and configured.get("CAPTCHA_PROVIDER", "").strip():
        problems.append(
            "CAPTCHA_PROVIDER: is set, but the sign-in server is the embedded one, which has no "
            "captcha vendor to ask. Set SUPABASE_URL and its keys, with the captcha switched on "
            "there, or unset CAPTCHA_PROVIDER and CAPTCHA_SITE_KEY"
        )
    for part in embedded:
        names = [name.upper() for name in _PLACEHOLDERS[part]]
        problems += [
            f"{name}: is set, but {names[0]} is not; set both, or neither to use the embedded part"
            for name in names[1:]
            if name in configured
        ]
    return problems
