"""What settings alone tell of a launch."""

from __future__ import annotations

import pytest

from aisaas.cli.checklist import configuration
from aisaas.cli.checklist.configuration import is_near
from aisaas.settings import Settings, load
from tests.production.conftest import Found, by_item

SECRET = "3q2-7wGk0pZsX9vJdYhTnBrLcMfEaQuW"
READY: dict[str, object] = {
    "app_env": "production",
    "app_url": "https://chat.example.com",
    "session_secret": SECRET,
    "database_url": "postgresql://app:p@db.example.com:6543/postgres",
    "redis_url": "rediss://:p@redis.example.com:6379/0",
    "supabase_url": "https://project.supabase.co",
    "supabase_publishable_key": "sb_publishable_x",
    "supabase_secret_key": "sb_secret_x",
    "stripe_secret_key": "sk_live_x",
    "ollama_api_base": "http://10.0.0.3:11434",
    "trusted_proxies": 1,
    "captcha_provider": "turnstile",
    "captcha_site_key": "x",
}
LAPTOP: dict[str, object] = {"app_env": "development", "stripe_secret_key": None}


def _found(**others: object) -> Found:
    config: Settings = load(**(READY | others))
    return by_item(configuration.look(config))


def test_install_that_is_ready_has_nothing_to_mend() -> None:
    assert [each for each in _found().values() if each.state != "ok"] == []


@pytest.mark.parametrize(
    ("item", "state", "said", "others"),
    [
        ("environment", "failed", "development", LAPTOP),
        ("environment", "failed", "postgres", LAPTOP | {"embedded_parts": "postgres"}),
        ("origins", "failed", "http://a.example", LAPTOP | {"allowed_origins": "http://a.example"}),
        ("origins", "failed", "http://a.example", LAPTOP | {"app_url": "http://a.example"}),
        ("cookies", "failed", "not Secure, not bound", LAPTOP | {"app_url": "http://a.example"}),
        ("session secret", "failed", "guess", {"session_secret": "secret" * 8}),
        ("trusted proxies", "failed", "0 behind https", {"trusted_proxies": 0}),
        (
            "sign-up",
            "warning",
            "without a captcha",
            {"captcha_provider": None, "captcha_site_key": None},
        ),
        ("provider's own cap", "skipped", "openai", {"openai_api_key": "sk-x"}),
    ],
)
def test_what_is_not_ready_is_reported(
    item: str, state: str, said: str, others: dict[str, object]
) -> None:
    found = _found(**others)[item]
    assert found.state == state
    assert said in found.said
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("redis://:p@redis:6379/0", True),
        ("redis://:p@10.1.2.3:6379/0", True),
        ("redis://:p@127.0.0.1:6379/0", True),
        ("redis://:p@[fd00::1]:6379/0", True),
        ("redis://:p@cache.internal:6379/0", True),
        ("redis://:p@redis.example.com:6379/0", False),
        ("redis://:p@93.184.216.34:6379/0", False),
    ],
)
def test_only_private_networks_may_do_without_tls(url: str, *, near: bool) -> None:
    assert is_near(url) == near
