"""`switch`, `caps` and `models`, as an operator types them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from aisaas.cli import environment, main
from devstack.stack import Stack
from tests.services import EMBEDDED, Database

Command = Callable[[str], Any]


@pytest.fixture
def command(
    stack: Stack,
    catalogue: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Generator[Command]:
    """Runs one that succeeds: its lines, or what its JSON says."""
    for name, value in stack.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EMBEDDED_PARTS", EMBEDDED)
    monkeypatch.setenv("MODEL_CATALOGUE", str(catalogue))
    monkeypatch.setenv("AISAAS_DATA_DIR", str(tmp_path))
    # A process reads them once.
    environment.configured.cache_clear()

    def run(line: str) -> Any:
        words = shlex.split(line)
        code = main(words)
        said = capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out) if "--json" in words else said.out.splitlines()

    yield run
    environment.configured.cache_clear()


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    """They are everybody's."""
    yield
    for table in ("kill_switches", "spending_caps", "model_overrides"):
        database(f"delete from private.{table}")


def test_switch_is_engaged_listed_and_lifted(command: Command, database: Database) -> None:
    why = f"a drill {uuid4()}"
    assert command(f"switch engage plan:pro --reason '{why}'") == [
        "plan:pro: new calls are stopped."
    ]
    assert command(f"switch engage plan:pro --stop-running --reason '{why}' --json") == {
        "scope": "plan:pro",
        "engaged": True,
        "changed": True,
    }
    (switch,) = command("switch list --json")
    assert (switch["scope"], switch["reason"], switch["stop_running"]) == ("plan:pro", why, True)
    assert "stops running replies" in command("switch list")[0]
    assert command("switch lift plan:pro --reason over") == ["plan:pro: calls resumed."]
    assert command("switch lift plan:pro --reason over") == ["plan:pro: not engaged."]
    assert command("switch list") == []
    ((actor,),) = database("select distinct actor from audit_log where reason = %s", why)
    assert str(actor).startswith("operator:")


def test_cap_is_set_shown_and_given_back_to_the_settings(command: Command) -> None:
    assert command("caps set free 12.5 --reason 'a launch'") == ["free: $12.50 per day."]
    assert command("caps set free 12.50 --reason 'a launch' --json")["changed"] is False
    free, total = command("caps show --json")
    assert (free["scope"], float(free["usd"]), float(free["settings_usd"])) == ("free", 12.5, 5)
    assert (total["scope"], total["changed_by"]) == ("total", None)
    assert "set by operator:" in command("caps show")[0]
    assert command("caps set free settings --reason 'it is over'") == ["free: $5.00 per day."]


def test_model_is_changed_listed_and_given_back_to_the_catalogue(command: Command) -> None:
    changed = command(
        "models set small-window --off --plans pro --weight 2 --price 0.5/1.5"
        " --reason 'too dear' --json"
    )
    assert (changed["on"], changed["plans"], changed["weight"]) == (False, ["pro"], "2")
    assert changed["price"]["cached_input_usd"] == "0.5"
    (margin,) = changed["margins"]
    # $10 a million beyond what is included, twice; (3 × $0.50 + $1.50) / 4 to pay.
    assert (margin["plan"], margin["overage"]) == ("pro", 0.9625)
    assert command("models set small-window --on --reason again") == [
        f"small-window  on  on pro  weight 2  $0.5 in, $1.5 out per 1M tokens "
        f"({changed['price']['version']})"
    ]
    lines = command("models list")
    assert "    pro: margin 96% on the included tokens, 96% on overage" in lines
    back = "--plans catalogue --weight catalogue --price catalogue"
    now = command(f"models set small-window {back} --reason 'as it was' --json")
    assert (now["plans"], now["weight"]) == (["business", "free", "pro"], "1")
    assert now["price"]["version"] == "override"


def test_prices_are_listed_with_their_versions_and_dates(
    command: Command, database: Database
) -> None:
    name, digest = f"model-{uuid4().hex}", uuid4().hex[:16]
    database(
        "insert into private.price_versions (model, version, digest, price, since)"
        " values (%s, 'list-7', %s, %s::jsonb, '2026-11-01 10:30+00')",
        name,
        digest,
        json.dumps(
            {"input_usd": "1", "output_usd": "2", "cached_input_usd": "0.5", "version": "list-7"}
        ),
    )
    lines = command("models prices")
    number = lines.index(f"{name}  list-7  since 2026-11-01 10:30 UTC")
    assert lines[number + 1] == "    $1 in, $2 out, $0.50 cached per 1M tokens"
    printed = command("models prices --json")
    (mine,) = [each for each in printed["versions"] if each["model"] == name]
    assert mine["price"]["input_usd"] == "1"
    # No key of a provider is set, so the map knows none of the models on sale.
    assert printed["differences"] == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("switch engage model:no-such --reason x", "Choose one of: all"),
        ("switch engage all", "Enter a reason"),
        ("caps set free -1 --reason x", "Enter a cap from $0"),
        ("caps set free ten --reason x", "isn't an amount"),
        ("caps set everything 1 --reason x", "invalid choice"),
        ("caps set free 1", "--reason"),
        ("models set no-such --off --reason x", "Models: demo"),
        ("models set demo --weight 0 --reason x", "more than 0"),
        ("models set demo --price 1 --reason x", "isn't a price"),
        ("models set demo --plans gold --reason x", "free, pro, business"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_sentence(
    command: Command, capsys: pytest.CaptureFixture[str], line: str, why: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(shlex.split(line)))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert why in said
    assert "Traceback" not in said
