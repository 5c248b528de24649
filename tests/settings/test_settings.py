"""The environment is valid as a whole, or nothing starts, and the error names every problem."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr, ValidationError

from aisaas.errors import ConfigurationError
from aisaas.settings import AppEnv, Settings, built_values, load

# Marks whatever must never be seen; every secret below carries it.
CANARY = "CANARY"

DEVELOPMENT = {
    "DATABASE_URL": f"postgresql://app:{CANARY}@127.0.0.1:5432/postgres",
    "REDIS_URL": f"redis://:{CANARY}@127.0.0.1:6379/0",
    "SUPABASE_URL": "http://127.0.0.1:9999",
    "SUPABASE_PUBLISHABLE_KEY": f"sb_publishable_{CANARY}",
    "SUPABASE_SECRET_KEY": f"sb_secret_{CANARY}",
    "SESSION_SECRET": f"{CANARY}-a-secret-of-some-length-for-sessions",
    "OPENAI_API_KEY": f"sk-{CANARY}",
}
PRODUCTION = DEVELOPMENT | {
    "APP_ENV": "production",
    "APP_URL": "https://chat.example.com",
    "SESSION_SECRET_PREVIOUS": f"{CANARY}-what-it-was-a-month-before-that",
    "DATABASE_URL": f"postgresql://app:{CANARY}@db.example.com:6543/postgres",
    "REDIS_URL": f"rediss://:{CANARY}@redis.example.com:6379/0",
    "SUPABASE_URL": "https://project.supabase.co",
    "STRIPE_SECRET_KEY": f"sk_live_{CANARY}",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY}",
    "ALERT_WEBHOOK_URL": f"https://hooks.example.com/{CANARY}",
    "ALERT_WEBHOOK_SECRET": f"{CANARY}-long-enough-to-sign-alerts",
    "SMTP_URL": f"smtp://mailer:{CANARY}@mail.example.com:587",
    "MAIL_FROM": "Chat <mail@example.com>",
}
PREVIEW = PRODUCTION | {"APP_ENV": "preview", "STRIPE_SECRET_KEY": f"sk_test_{CANARY}"}
SECRETS = {name for name, value in PRODUCTION.items() if CANARY in value} - {
    "SUPABASE_PUBLISHABLE_KEY"
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def _load(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        environment.setenv(name, value)
    return load()


def _problems(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> dict[str, str]:
    """What is wrong, by variable."""
    with pytest.raises(ConfigurationError) as caught:
        _load(environment, variables)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert caught.value.__cause__ is None
    found = dict(line.split(": ", 1) for line in caught.value.problems)
    assert len(found) == len(caught.value.problems), caught.value.problems
    return found


# What is fit


@pytest.mark.parametrize("variables", [DEVELOPMENT, PREVIEW, PRODUCTION])
def test_whole_environment_is_read(
    environment: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    settings = _load(environment, variables)
    assert settings.app_env == variables.get("APP_ENV", "development")
    assert settings.url == variables.get("APP_URL", "http://127.0.0.1:3000")
    assert settings.secure_cookies == ("APP_URL" in variables)


def test_settings_are_frozen(environment: pytest.MonkeyPatch) -> None:
    settings = _load(environment, DEVELOPMENT)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 4000


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_blank_variable_is_not_set(environment: pytest.MonkeyPatch, blank: str) -> None:
    without = _load(environment, DEVELOPMENT)
    others = {name.upper() for name in Settings.model_fields} - set(DEVELOPMENT)
    assert _load(environment, dict.fromkeys(others, blank)) == without
    assert "OPENAI_API_KEY" in _problems(environment, {"OPENAI_API_KEY": blank})


def test_blanks_around_a_pasted_value_are_dropped(environment: pytest.MonkeyPatch) -> None:
    settings = _load(environment, DEVELOPMENT | {"OPENAI_API_KEY": " sk-x\n", "PORT": " 4000 "})
    assert settings.openai_api_key == SecretStr("sk-x")
    assert settings.port == 4000


def test_environment_comes_before_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("PORT=4000\nAPP_NAME=From the file\nSOMETHING_ELSE=1\n")
    for name, value in (DEVELOPMENT | {"PORT": "5000"}).items():
        environment.setenv(name, value)
    settings = load(_env_file=env_file)
    assert (settings.port, settings.app_name) == (5000, "From the file")


def test_lists_are_comma_separated(environment: pytest.MonkeyPatch) -> None:
    settings = _load(environment, DEVELOPMENT | {"OLLAMA_MODELS": "llama3.2, qwen3 ,,phi4,"})
    assert settings.ollama_models == ("llama3.2", "qwen3", "phi4")


@pytest.mark.parametrize(
    ("variables", "providers"),
    [
        ({}, {"openai"}),
        ({"ANTHROPIC_API_KEY": "sk-ant-x"}, {"openai", "anthropic"}),
        ({"OLLAMA_API_BASE": "http://127.0.0.1:11434"}, {"openai", "ollama"}),
        ({"OPENAI_API_KEY": "", "DEMO_API_BASE": "http://127.0.0.1:1/v1"}, {"demo"}),
    ],
)
def test_providers_are_those_that_can_be_called(
    environment: pytest.MonkeyPatch, variables: dict[str, str], providers: set[str]
) -> None:
    assert _load(environment, DEVELOPMENT | variables).providers() == providers


# What isn't


def test_everything_that_is_missing_is_named_together_with_where_to_get_it(
    environment: pytest.MonkeyPatch,
) -> None:
    problems = _problems(environment, {"APP_ENV": "production"})
    assert set(problems) == set(DEVELOPMENT) | {"APP_URL"}
    assert "Supabase dashboard" in problems["DATABASE_URL"]
    assert "secrets.token_urlsafe" in problems["SESSION_SECRET"]
    assert "ANTHROPIC_API_KEY" in problems["OPENAI_API_KEY"]


def test_what_is_malformed_missing_and_mixed_is_reported_together(
    environment: pytest.MonkeyPatch,
) -> None:
    wrong = PRODUCTION | {
        "PORT": "eighty",
        "DATABASE_URL": f"mysql://app:{CANARY}@db.example.com",
        "SESSION_SECRET": CANARY,
        "STRIPE_SECRET_KEY": f"sk_test_{CANARY}",
        "SUPABASE_URL": "http://project.supabase.co",
        "REDIS_URL": "",
        "FREE_TIER_DAILY_USD": "-1",
    }
    assert set(_problems(environment, wrong)) == {
        "PORT",
        "DATABASE_URL",
        "SESSION_SECRET",
        "STRIPE_SECRET_KEY",
        "SUPABASE_URL",
        "REDIS_URL",
        "FREE_TIER_DAILY_USD",
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("APP_ENV", "staging"),
        ("APP_NAME", "x" * 61),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("LOG_LEVEL", "loud"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("SHUTDOWN_GRACE_SECONDS", "nan"),
        ("DATABASE_URL", f"postgresql://app:{CANARY}@host:port/db"),
        ("DATABASE_URL", f"{CANARY}"),
        ("SERVICE_DATABASE_URL", f"http://app:{CANARY}@host/db"),
        ("MIGRATION_DATABASE_URL", f"postgresql:///{CANARY}"),
        ("REDIS_URL", f"http://:{CANARY}@host"),
        ("SUPABASE_URL", "project.supabase.co"),
        ("SUPABASE_URL", f"https://me:{CANARY}@project.supabase.co"),
        ("SUPABASE_URL", "https://[broken"),
        ("SUPABASE_PUBLISHABLE_KEY", f"sb_secret_{CANARY}"),
        ("SUPABASE_SECRET_KEY", f"sb_publishable_{CANARY}"),
        ("SESSION_SECRET", CANARY),
        ("SESSION_SECRET_PREVIOUS", f"{CANARY}-which-is-long-enough-alone,{CANARY}"),
        ("STRIPE_SECRET_KEY", f"pk_test_{CANARY}"),
        ("STRIPE_WEBHOOK_SECRET", f"sk_test_{CANARY}"),
        ("ALERT_WEBHOOK_URL", f"ftp://hooks.example.com/{CANARY}"),
        ("ALERT_WEBHOOK_SECRET", "too short"),
        ("SMTP_URL", f"http://me:{CANARY}@mail.example.com"),
        ("SMTP_URL", f"smtp://:{CANARY}@"),
        ("SMTP_URL", f"smtp://{CANARY}@mail.example.com"),
        ("SMTP_URL", f"smtps://me:{CANARY}@mail.example.com:mail"),
        ("MAIL_FROM", "Chat"),
        ("MAIL_FROM", "mail@"),
        ("MAIL_FROM", "a@example.com, b@example.com"),
        ("MAIL_FROM", "Chat <a@example.com> and more"),
        ("MAIL_FROM", "Chat <mail@example.com>\r\nBcc: <b@example.com>"),
        ("OPENAI_API_BASE", "ftp://models.example.com"),
        ("MAX_REPLY_TOKENS", "0"),
        ("FREE_REQUESTS_PER_MINUTE", "0"),
        ("FREE_TOKENS_PER_MONTH", "1.5"),
        ("TOTAL_DAILY_USD", "0.0000001"),
        ("TOTAL_DAILY_USD", "Infinity"),
        ("TOTAL_DAILY_USD", "five"),
    ],
)
def test_malformed_value_is_named_and_not_repeated_if_it_may_be_secret(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    assert set(_problems(environment, DEVELOPMENT | {variable: value})) == {variable}


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://*.example.com",
        "https://example.com/",
        "https://example.com/path",
        "https://example.com?x",
        "https://me@example.com",
        "example.com",
        "//example.com",
        "ftp://example.com",
        "null",
        "https://",
        "https://example.com:443",
        "http://example.com:80",
        "https://Example.com",
        "https://exa mple.com",
        "https://example.com:99999",
        "https://münchen.example",
        "https://.example.com",
    ],
)
@pytest.mark.parametrize("variable", ["APP_URL", "ALLOWED_ORIGINS"])
def test_origin_that_no_browser_would_send_is_refused(
    environment: pytest.MonkeyPatch, variable: str, origin: str
) -> None:
    assert set(_problems(environment, DEVELOPMENT | {variable: origin})) == {variable}


@pytest.mark.parametrize(
    ("variables", "origins"),
    [
        ({}, ("http://127.0.0.1:3000", "http://localhost:3000")),
        ({"PORT": "4000"}, ("http://127.0.0.1:4000", "http://localhost:4000")),
        ({"APP_URL": "https://a.example.com"}, ("https://a.example.com",)),
        (
            {"APP_URL": "http://[::1]:3000", "ALLOWED_ORIGINS": "https://b.example.com:8443"},
            ("http://[::1]:3000", "https://b.example.com:8443"),
        ),
    ],
)
def test_origins_are_exactly_our_own_and_those_listed(
    environment: pytest.MonkeyPatch, variables: dict[str, str], origins: tuple[str, ...]
) -> None:
    assert _load(environment, DEVELOPMENT | variables).origins == origins


# Environments don't mix


@pytest.mark.parametrize("key", [f"sk_live_{CANARY}", f"rk_live_{CANARY}"])
@pytest.mark.parametrize("variables", [DEVELOPMENT, PREVIEW])
def test_live_key_outside_production_is_refused(
    environment: pytest.MonkeyPatch, variables: dict[str, str], key: str
) -> None:
    problems = _problems(environment, variables | {"STRIPE_SECRET_KEY": key})
    assert set(problems) == {"STRIPE_SECRET_KEY"}
    assert "live keys belong in production" in problems["STRIPE_SECRET_KEY"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STRIPE_SECRET_KEY", f"sk_test_{CANARY}"),
        ("STRIPE_SECRET_KEY", f"rk_test_{CANARY}"),
        ("APP_URL", "http://chat.example.com"),
        ("SUPABASE_URL", "http://project.supabase.co"),
        ("OPENAI_API_BASE", "http://models.example.com/v1"),
        ("ANTHROPIC_API_BASE", "http://models.example.com"),
        ("ALLOWED_ORIGINS", "https://a.example.com,http://b.example.com"),
        ("APP_URL", "https://localhost"),
        ("SUPABASE_URL", "https://127.0.0.1"),
        ("DATABASE_URL", f"postgresql://app:{CANARY}@localhost/postgres"),
        ("DATABASE_URL", f"postgresql://app:{CANARY}@localhost./postgres"),
        ("SERVICE_DATABASE_URL", f"postgresql://app:{CANARY}@127.0.0.1/postgres"),
        ("MIGRATION_DATABASE_URL", f"postgresql://app:{CANARY}@[::1]/postgres"),
        ("MIGRATION_DATABASE_URL", f"postgresql://app:{CANARY}@[::ffff:127.0.0.1]/postgres"),
        ("REDIS_URL", f"redis://:{CANARY}@0.0.0.0"),
        ("REDIS_URL", f"redis://:{CANARY}@127.1"),
    ],
)
def test_what_belongs_on_a_laptop_is_refused_in_production(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    assert set(_problems(environment, PRODUCTION | {variable: value})) == {variable}


LOCAL = {
    "DATABASE_URL": f"postgresql://app:{CANARY}@127.0.0.1:5432/postgres",
    "SERVICE_DATABASE_URL": f"postgresql://service:{CANARY}@localhost:5432/postgres",
    "MIGRATION_DATABASE_URL": f"postgresql://postgres:{CANARY}@[::1]:5432/postgres",
    "REDIS_URL": f"redis://:{CANARY}@127.0.0.1:6379/0",
}


def test_production_may_have_its_own_postgres_and_redis_on_its_machine_when_that_is_said(
    environment: pytest.MonkeyPatch,
) -> None:
    problems = _problems(environment, PRODUCTION | LOCAL)
    assert set(problems) == set(LOCAL)
    assert all("ALLOW_LOCAL_DATASTORES=true" in line for line in problems.values())
    config = _load(environment, {"ALLOW_LOCAL_DATASTORES": "true"})
    assert config.app_env == "production"
    assert config.redis_url is not None
    assert config.redis_url.get_secret_value() == LOCAL["REDIS_URL"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        # Nobody listens there for good, and an app or a sign-in server is no datastore.
        ("REDIS_URL", f"redis://:{CANARY}@0.0.0.0"),
        ("DATABASE_URL", f"postgresql://app:{CANARY}@[::]/postgres"),
        ("APP_URL", "https://localhost"),
        ("SUPABASE_URL", "https://127.0.0.1"),
        ("EMBEDDED_PARTS", "postgres"),
    ],
)
def test_that_word_lets_nothing_else_through(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    said = PRODUCTION | LOCAL | {"ALLOW_LOCAL_DATASTORES": "true"}
    assert set(_problems(environment, said | {variable: value})) == {variable}


@pytest.mark.parametrize("variables", [PREVIEW, PRODUCTION])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EMBEDDED_PARTS", "postgres"),
        ("DEMO_API_BASE", "https://demo.example.com/v1"),
        ("MAILBOX_URL", "https://mail.example.com"),
    ],
)
def test_nothing_is_embedded_outside_development(
    environment: pytest.MonkeyPatch, variables: dict[str, str], variable: str, value: str
) -> None:
    problems = _problems(environment, variables | {variable: value})
    assert set(problems) == {variable}
    assert "nothing is embedded" in problems[variable]


def test_every_environment_that_is_not_development_needs_its_address(
    environment: pytest.MonkeyPatch,
) -> None:
    for app_env in get_args(AppEnv):
        problems = _problems(environment, {"APP_ENV": app_env})
        assert ("APP_URL" in problems) == (app_env != "development")


# Secrets


def test_secrets_are_named_with_their_values_and_none_is_forgotten(
    environment: pytest.MonkeyPatch,
) -> None:
    settings = _load(environment, PRODUCTION)
    assert {name for name, value in settings.secrets() if CANARY in value} == SECRETS


def test_each_of_several_secrets_is_looked_for_by_itself(environment: pytest.MonkeyPatch) -> None:
    one, two = "o" * 32, "t" * 32
    several = {
        "SESSION_SECRET_PREVIOUS": f"{one}, {two}",
        "STRIPE_WEBHOOK_SECRET": "whsec_1,whsec_2",
    }
    settings = _load(environment, PRODUCTION | several)
    assert {(name, value) for name, value in settings.secrets() if name in several} == {
        ("SESSION_SECRET_PREVIOUS", one),
        ("SESSION_SECRET_PREVIOUS", two),
        ("STRIPE_WEBHOOK_SECRET", "whsec_1"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_2"),
    }
    assert settings.session_secrets == (PRODUCTION["SESSION_SECRET"], one, two)


def test_no_secret_is_shown_by_printing_or_dumping(environment: pytest.MonkeyPatch) -> None:
    settings = _load(environment, PRODUCTION)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings!s}"):
        assert CANARY not in shown


def test_whatever_is_named_like_a_secret_is_kept_like_one() -> None:
    for name, field in Settings.model_fields.items():
        if name == "captcha_site_key":
            # Every visitor's browser has it; what it is a key to is the captcha's own page.
            continue
        # Both halves of a key, and a token with its vendor's name behind it.
        aws = name.endswith(("_key_id", "_token_bedrock"))
        secretive = name.endswith(("_key", "database_url", "redis_url", "smtp_url", "webhook_url"))
        secretive |= aws
        secretive |= "secret" in name or name.endswith(("_token", "_headers"))
        assert (SecretStr in get_args(field.annotation)) == secretive, name


def test_a_build_knows_its_name_where_nothing_else_is_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("APP_NAME", "Chat of ours")
    assert built_values() == {"app_name": "Chat of ours"}
    assert built_values() == _load(environment, PRODUCTION).built_values()


def test_browser_hears_of_the_mailbox_in_development(environment: pytest.MonkeyPatch) -> None:
    mailbox = "http://127.0.0.1:4000/mailbox"
    values = _load(environment, DEVELOPMENT | {"MAILBOX_URL": mailbox})
    assert values.browser_values()["mailbox_url"] == mailbox
    # An address that is another one at each start must not ask for another build.
    assert values.built_values() == {"app_name": "AI SaaS"}


def test_browser_gets_the_allow_list_and_no_secret(environment: pytest.MonkeyPatch) -> None:
    values = _load(environment, PRODUCTION).browser_values()
    assert values == {
        "app_name": "AI SaaS",
        "sign_up_mode": "open",
        "oauth_providers": "",
        "captcha_provider": "",
        "captcha_site_key": "",
        "terms_url": "",
        "privacy_url": "",
        "contact_email": "",
        "mailbox_url": "",
        "payments_url": "",
    }
    assert CANARY not in str(values)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("CAPTCHA_SITE_KEY", "site", "CAPTCHA_PROVIDER: is not set"),
        ("CAPTCHA_PROVIDER", "turnstile", "CAPTCHA_SITE_KEY: is not set"),
        ("TERMS_URL", "/terms", "TERMS_URL: should look like https://example.com/terms"),
        ("PRIVACY_URL", "javascript:alert(1)", "PRIVACY_URL: should look like"),
        ("CONTACT_EMAIL", "Us <us@example.com>", "CONTACT_EMAIL: should look like"),
        ("CONTACT_EMAIL", "us", "CONTACT_EMAIL: should look like support@example.com"),
        ("OAUTH_PROVIDERS", "google,nobody", "OAUTH_PROVIDERS: doesn't know nobody"),
        ("EMBEDDED_CONFIRM_EMAIL", "true", "EMBEDDED_CONFIRM_EMAIL: nothing is embedded"),
    ],
)
def test_half_a_captcha_and_unknown_providers_are_refused(
    environment: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _load(environment, PRODUCTION | {name: value})
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    "sender", ["mail@example.com", "Chat <mail@example.com>", '"Chat, Inc." <mail@example.com>']
)
def test_mails_come_from_an_address_with_or_without_a_name(
    environment: pytest.MonkeyPatch, sender: str
) -> None:
    assert _load(environment, PRODUCTION | {"MAIL_FROM": sender}).mail_from == sender


def test_a_mail_server_needs_a_sender_and_a_sender_alone_does_no_harm(
    environment: pytest.MonkeyPatch,
) -> None:
    assert set(_problems(environment, PRODUCTION | {"MAIL_FROM": ""})) == {"MAIL_FROM"}
    assert _load(environment, PRODUCTION | {"SMTP_URL": ""}).smtp_url is None


def test_sign_in_providers_are_named_once(environment: pytest.MonkeyPatch) -> None:
    settings = _load(environment, PRODUCTION | {"OAUTH_PROVIDERS": "github, google,github"})
    assert settings.oauth_providers == ("github", "google")


def test_periods_are_kept_at_least_as_long_as_what_belongs_to_them(
    environment: pytest.MonkeyPatch,
) -> None:
    days = {"RETENTION_RECORDS_DAYS": "120", "RETENTION_ACCOUNTING_DAYS": "119"}
    assert set(_problems(environment, DEVELOPMENT | days)) == {"RETENTION_ACCOUNTING_DAYS"}
    _load(environment, days | {"RETENTION_ACCOUNTING_DAYS": "120"})


@pytest.mark.parametrize(
    ("variable", "lowest"),
    [
        ("RETENTION_DELETED_CONVERSATIONS_DAYS", 0),
        ("RETENTION_RECORDS_DAYS", 31),
        ("RETENTION_ACCOUNTING_DAYS", 90),
    ],
)
def test_what_protects_from_handling_twice_is_not_removed_early(
    environment: pytest.MonkeyPatch, variable: str, lowest: int
) -> None:
    _load(environment, DEVELOPMENT | {variable: str(lowest)})
    assert set(_problems(environment, DEVELOPMENT | {variable: str(lowest - 1)})) == {variable}
