"""A Redis without a password, or that loses data, is reported; on a server of these tests."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import redis

from aisaas.cli.checklist import cache
from aisaas.settings import Settings, load
from childprocess.folder import DataFolder
from childprocess.ports import free_port
from devstack.valkey import Valkey
from tests.production.conftest import Found, by_item
from tests.production.test_configuration import READY

PASSWORD = "a-password-of-these-tests"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Valkey]:
    folder = DataFolder(tmp_path_factory.mktemp("cache"))
    folder.prepare()
    running = Valkey(folder, {"redis_password": PASSWORD}, free_port())
    running.start()
    yield running
    running.process.stop()


@pytest.fixture
def admin(server: Valkey) -> Generator[Any]:
    """Who may break it; whatever was configured is as before at the end."""
    client: Any = redis.Redis.from_url(server.url, decode_responses=True)
    before = client.config_get("maxmemory-policy", "appendonly", "save")
    yield client
    for name, value in {**before, "requirepass": PASSWORD}.items():
        client.config_set(name, value)
    client.close()


def _settings(url: str) -> Settings:
    return load(**(READY | {"app_env": "preview", "stripe_secret_key": None, "redis_url": url}))


def _look(url: str) -> Found:
    found = by_item(cache.look(_settings(url)))
    assert PASSWORD not in str(found)
    return found


def test_server_with_password_and_append_only_file_is_well(server: Valkey) -> None:
    found = _look(server.url)
    assert len(found) == 4
    assert [each for each in found.values() if each.state != "ok"] == []


def test_server_that_lets_everybody_in_is_reported(server: Valkey, admin: Any) -> None:
    admin.config_set("requirepass", "")
    for url in (server.url, server.url.replace(f":{PASSWORD}@", "")):
        found = _look(url)["Redis password"]
        assert (found.state, "requirepass" in found.fix) == ("failed", True)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_server_that_evicts_is_reported(policy: str, server: Valkey, admin: Any) -> None:
    admin.config_set("maxmemory-policy", policy)
    found = _look(server.url)["Redis eviction"]
    assert found.state == "failed"
    assert policy in found.said
    assert "noeviction" in found.fix


@pytest.mark.parametrize(("save", "said"), [("", "none"), ("3600 1", "snapshots only")])
def test_server_that_forgets_at_a_restart_is_reported(
    save: str, said: str, server: Valkey, admin: Any
) -> None:
    admin.config_set("appendonly", "no")
    admin.config_set("save", save)
    found = _look(server.url)["Redis persistence"]
    assert found.state == "warning"
    assert said in found.said
    assert "appendonly yes" in found.fix


def test_host_that_closes_config_is_asked_by_info(server: Valkey, admin: Any) -> None:
    admin.acl_setuser(
        "tenant",
        enabled=True,
        passwords=[f"+{PASSWORD}"],
        keys=["*"],
        commands=["+@all", "-config"],
    )
    admin.config_set("maxmemory-policy", "allkeys-lru")
    found = _look(server.url.replace("//:", "//tenant:"))
    assert found["Redis eviction"].state == "failed"
    assert found["Redis persistence"].state == "ok"


def test_what_a_host_does_not_tell_is_skipped_with_where_to_look(
    server: Valkey, admin: Any
) -> None:
    admin.acl_setuser(
        "guest",
        enabled=True,
        passwords=[f"+{PASSWORD}"],
        keys=["*"],
        commands=["+@all", "-config", "-info"],
    )
    found = _look(server.url.replace("//:", "//guest:"))
    for item in ("Redis eviction", "Redis persistence"):
        assert found[item].state == "skipped"
        assert "settings" in found[item].fix


def test_wrong_password_and_absence_are_reported_without_the_password(server: Valkey) -> None:
    wrong = _look(server.url.replace(PASSWORD, "another-password"))
    assert (wrong["Redis"].state, wrong["Redis password"].state) == ("failed", "ok")
    assert "another-password" not in str(wrong)
    away = _look(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    assert {each.state for each in away.values()} == {"failed"}


def test_plain_connection_over_the_internet_is_reported(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "is_near", lambda _: False)
    found = _look(server.url)["Redis"]
    assert (found.state, "rediss://" in found.fix) == ("failed", True)
