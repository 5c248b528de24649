"""`check --production` as a whole: what it prints, what it ends with, what it never says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import psycopg
import pytest

from aisaas.cli import environment, main
from aisaas.cli.checklist import production as checklist
from aisaas.cli.checklist.findings import Finding, fail, ok, skipped, warn
from aisaas.cli.checklist.providers import LastFailure, ProviderLine
from aisaas.settings import load
from childprocess.ports import free_port
from devstack.stack import Stack
from tests.production.conftest import Configure, by_item
from tests.production.test_configuration import READY

Set = Callable[[Mapping[str, str]], None]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Set:
    """The environment of the command; nothing is running in this folder."""
    monkeypatch.setattr(checklist, "running", lambda: None)

    def set_all(values: Mapping[str, str]) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(checklist, "configured", lambda: values)

    environment.configured.cache_clear()
    return set_all


def _items(printed: str) -> dict[str, dict[str, str]]:
    report = json.loads(printed)
    assert report["ok"] is all(each["state"] != "failed" for each in report["findings"])
    return {each["item"]: each for each in report["findings"]}


def test_install_of_a_laptop_fails_without_saying_a_secret(
    stack: Stack, variables: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    variables({**stack.env, "EMBEDDED_PARTS": ",".join(stack.parts)})
    assert main(["check", "--production", "--json"]) == 1
    printed = capsys.readouterr()
    found = _items(printed.out)
    assert found["environment"]["state"] == "failed"
    assert found["row level security"]["state"] == "ok"
    assert found["grants"]["state"] == "ok"
    assert found["proof of isolation"]["state"] in {"ok", "warning"}
    assert len(found) > 30
    for name, secret in load().secrets():
        assert secret not in printed.out + printed.err, name


def test_providers_are_listed_with_what_they_serve(
    stack: Stack, variables: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        database.execute(
            "insert into private.provider_health (step, starts, provider, model, kind, times, last_at)"
            " values ('hour', date_trunc('hour', now(), 'UTC'), 'anthropic', 'claude-haiku-5-5',"
            " 'AuthenticationError', 2, now()) on conflict do nothing"
        )
    variables(
        {
            **stack.env,
            "EMBEDDED_PARTS": ",".join(stack.parts),
            "ANTHROPIC_API_KEY": "sk-ant-a-secret-of-the-tests",
        }
    )
    main(["check", "--production", "--json"])
    printed = capsys.readouterr().out
    found = {each["id"]: each for each in json.loads(printed)["providers"]}
    assert set(found) >= {"anthropic", "demo"}
    assert "claude-haiku-5-5" in found["anthropic"]["models"]
    assert found["anthropic"]["errors"] >= 2
    failure = found["anthropic"]["last_failure"]
    assert (failure["kind"], failure["variable"]) == ("AuthenticationError", "ANTHROPIC_API_KEY")
    assert "sk-ant-a-secret-of-the-tests" not in printed
    main(["check"])
    lines = [each for each in capsys.readouterr().out.splitlines() if "Model provider" in each]
    (line,) = [each for each in lines if "Anthropic" in each]
    assert "claude-haiku-5-5" in line
    assert line.endswith("the last one AuthenticationError: check ANTHROPIC_API_KEY")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (ProviderLine("p", "P", ()), "serves no model on sale; whether it answers is unknown"),
        (ProviderLine("p", "P", ("a",), 0, 0), "serves a; not tried in the last 24 hours"),
        (
            ProviderLine("p", "P", ("a", "b"), 1, 0),
            "serves a, b; answers: 1 attempt in 24 hours, no errors",
        ),
        (
            ProviderLine("p", "P", ("a",), 9, 1, LastFailure("cut", "a", "2026", "P_KEY")),
            "serves a; 9 attempts in 24 hours, 1 error, the last one cut: check P_KEY",
        ),
    ],
)
def test_a_provider_is_described_by_what_is_known_of_it(line: ProviderLine, said: str) -> None:
    assert line.describe() == said


def test_settings_that_are_not_valid_are_lines_of_the_list(
    variables: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    variables({"APP_ENV": "production"})
    assert main(["check", "--production"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("failed") for line in lines[:-1])
    assert any("DATABASE_URL: is not set" in line for line in lines)
    assert lines[-1] == f"{len(lines) - 1} failed"


def test_embedded_parts_that_do_not_run_are_reported(
    variables: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    variables({})
    assert main(["check", "--production"]) == 1
    assert "postgres, valkey, auth, demo_model, payments: embedded" in capsys.readouterr().out


def test_database_that_is_away_is_one_line_without_its_password(configure: Configure) -> None:
    address = f"postgresql://app_rw:a-long-password@127.0.0.1:{free_port()}/postgres"
    found = by_item(checklist._database(configure(database_url=address), 1))
    assert found["database"].state == "failed"
    assert "a-long-password" not in str(found)


@pytest.mark.parametrize(
    ("worst", "ends_with"),
    [
        (ok("a", "well"), 0),
        (warn("a", "hm", "look"), 0),
        (skipped("a", "who knows", "look"), 0),
        (fail("a", "no", "mend it"), 1),
    ],
)
def test_only_a_failure_fails(
    worst: Finding,
    ends_with: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(checklist, "_everything", lambda _: iter([ok("b", "well"), worst]))
    assert main(["check", "--production"]) == ends_with
    *_, line, _ = capsys.readouterr().out.splitlines()
    assert line.split()[0] == worst.state
    assert line.endswith(f"→ {worst.fix}") == bool(worst.fix)
    assert main(["check", "--production", "--json"]) == ends_with
    assert json.loads(capsys.readouterr().out)["ok"] is (ends_with == 0)


def test_every_item_goes_on_when_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look tells everything: an outage of one part hides no other item."""
    here = f"127.0.0.1:{free_port()}"
    config = load(
        **(
            READY
            | {
                "app_env": "preview",
                "stripe_secret_key": "sk_test_x",
                "stripe_api_base": f"http://{here}",
                "database_url": f"postgresql://a:long-password@{here}/p",
                "redis_url": f"redis://:long-password@{here}/0",
                "supabase_url": f"http://{here}",
                "app_url": f"https://{here}",
            }
        )
    )
    found = by_item(checklist.look(config))
    assert {"database", "Redis", "prices", "webhook endpoint", "sign-in", "kill switch"} <= {
        item for item, each in found.items() if each.state == "failed"
    }
    assert "long-password" not in str(found)
