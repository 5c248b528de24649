"""`stripe verify` finds that the Stripe fake bills what the ledger says, and what it doesn't."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from stripe import StripeClient

from aisaas.adapters.stripe_simulation import delete_leftovers
from aisaas.adapters.stripe_verification import SEQUENCES
from aisaas.cli import environment, main
from devstack.tests.payments_client import KEY, Counterpart, counterpart, sdk, variables_for
from tests.adapters.test_stripe_catalogue import PARTS

Set = Callable[[Mapping[str, str]], None]


@pytest.fixture
def payments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counterpart]:
    with counterpart(variables_for(tmp_path_factory.mktemp("payments") / "books")) as running:
        yield running


@pytest.fixture
async def client(payments: Counterpart) -> AsyncIterator[StripeClient]:
    async with sdk(payments.url) as client:
        yield client


@pytest.fixture
def settings_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """Sets variables for a command, in a folder where nothing runs."""

    def set_all(values: Mapping[str, str]) -> None:
        for name, value in {**values, "AISAAS_DATA_DIR": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        environment.configured.cache_clear()

    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)
    yield set_all
    environment.configured.cache_clear()


@pytest.fixture
def account(
    payments: Counterpart, settings_of: Set, capsys: pytest.CaptureFixture[str]
) -> Counterpart:
    """One that is in step with the plans."""
    settings_of(PARTS | {"STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": payments.url})
    assert main(["stripe", "sync"]) == 0
    capsys.readouterr()
    return payments


def _left(url: str) -> list[str]:
    """Names of clocks that are still there."""

    async def listed() -> list[str]:
        async with sdk(url) as client:
            page = await client.v1.test_helpers.test_clocks.list_async({"limit": 100})
            return [str(each.name) for each in page.data]

    return asyncio.run(listed())


def _said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def _differing(said: dict[str, Any]) -> set[str]:
    return {row["what"] for each in said["sequences"] for row in each["rows"] if not row["equal"]}


def test_both_sides_agree_to_the_cent_and_nothing_is_left(
    account: Counterpart, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["stripe", "verify", "--json"])
    said = _said(capsys)
    assert (code, said["equal"]) == (0, True), said
    assert [each["sequence"] for each in said["sequences"]] == list(SEQUENCES)
    rows = {each["sequence"]: each["rows"] for each in said["sequences"]}
    # What is compared isn't nothing.
    extra = [
        row["stripe"]
        for name, found in rows.items()
        for row in found
        if row["what"].endswith("extra usage") and name not in ("trial",)
    ]
    assert len([usd for usd in extra if usd != "$0.00"]) >= 9
    change = next(r for r in rows["upgrade in mid-period"] if "plan change" in r["what"])
    assert change["stripe"] == change["ours"] != "$0.00"
    assert _left(account.url) == []


async def _reprice(client: StripeClient, key: str, **more: Any) -> None:
    """Another price takes over the key of one, as by hand in the dashboard."""
    present = (await client.v1.prices.list_async({"lookup_keys": [key]})).data[0]
    recurring: Any = {"interval": "month"}
    if present.recurring and present.recurring.meter:
        meter = more.pop("meter", present.recurring.meter)
        recurring |= {"usage_type": "metered", "meter": meter}
    params: Any = {
        "product": present.product,
        "currency": "usd",
        "recurring": recurring,
        "lookup_key": key,
        "transfer_lookup_key": True,
        "metadata": present.metadata.to_dict() if present.metadata else {},
        **more,
    }
    await client.v1.prices.create_async(params)


def test_wrong_price_is_a_difference(
    account: Counterpart, capsys: pytest.CaptureFixture[str]
) -> None:
    async def reprice() -> None:
        async with sdk(account.url) as client:
            await _reprice(client, "pro_base", unit_amount=2_001)

    asyncio.run(reprice())
    assert main(["stripe", "verify"]) == 1
    shown = capsys.readouterr().out
    (line, *_) = [line for line in shown.splitlines() if "invoice 1, base price" in line]
    assert line.split()[-3:] == ["$20.00", "$20.01", "differs"]
    assert shown.splitlines()[-1] == "Stripe and the ledger differ."
    assert _left(account.url) == []


def test_wrong_meter_is_a_difference(
    account: Counterpart, capsys: pytest.CaptureFixture[str]
) -> None:
    async def remeter() -> None:
        async with sdk(account.url) as client:
            other = await client.v1.billing.meters.create_async(
                {
                    "display_name": "Another",
                    "event_name": "another",
                    "default_aggregation": {"formula": "sum"},
                }
            )
            price = Decimal("0.0001")
            await _reprice(client, "extra_usage", meter=other.id, unit_amount_decimal=price)

    asyncio.run(remeter())
    assert main(["stripe", "verify", "--json"]) == 1
    said = _said(capsys)
    assert said["equal"] is False
    assert _differing(said) == {"invoice 2, extra usage", "invoice 3, extra usage"}


def test_account_without_prices_is_reported_what_is_missing(
    payments: Counterpart, settings_of: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_of(PARTS | {"STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": payments.url})
    assert main(["stripe", "verify", "--json"]) == 1
    errors = {each["error"] for each in _said(capsys)["sequences"]}
    assert any("pro_base" in error for error in errors)
    assert _left(payments.url) == []


@pytest.mark.parametrize("key", ["sk_live_x", "rk_live_x"])
def test_live_key_is_refused(
    settings_of: Set, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    live = {"APP_ENV": "production", "APP_URL": "https://chat.example.com"}
    # No request is made: the address wouldn't answer.
    settings_of(PARTS | live | {"STRIPE_SECRET_KEY": key, "STRIPE_API_BASE": "https://127.0.0.1:1"})
    assert main(["stripe", "verify"]) == 2
    assert "test key" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_leaves_nothing(
    account: Counterpart, sent: signal.Signals, code: int
) -> None:
    # A job in a shell's background starts with SIGINT ignored, and its children with it.
    process = subprocess.Popen(
        [sys.executable, "-m", "aisaas", "stripe", "verify"],
        env=dict(os.environ),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # no thread starts one meanwhile
    )
    try:
        deadline = time.monotonic() + 60
        while not _left(account.url):
            assert time.monotonic() < deadline, "it never began"
            assert process.poll() is None
        process.send_signal(sent)
        assert process.wait(60) == code
    finally:
        process.kill()
        process.wait()
    assert _left(account.url) == []


async def test_what_a_killed_run_left_is_deleted_by_the_next(
    payments: Counterpart, client: StripeClient
) -> None:
    clocks = client.v1.test_helpers.test_clocks
    now = int(time.time())
    for name in ("aisaas verify: cancel", "someone else's"):
        await clocks.create_async({"frozen_time": now, "name": name})
    # One that has just begun may belong to a run beside this one.
    assert await delete_leftovers(client) == 0
    books = Path(payments.variables["PAYMENTS_DATA_DIR"]) / "books.sqlite"
    with sqlite3.connect(books, timeout=10) as connection:
        connection.execute(
            "update objects set body = json_set(body, '$.created', ?)"
            " where kind = 'test_helpers.test_clock'",
            (now - 3_601,),
        )
    connection.close()
    assert await delete_leftovers(client) == 1
    assert [each.name for each in (await clocks.list_async()).data] == ["someone else's"]
