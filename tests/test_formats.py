"""How dates and amounts read: the same in pages, mails and commands."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from aisaas import formats
from aisaas.settings import PROJECT_ROOT

SOURCE = PROJECT_ROOT / "aisaas" / "ui" / "browser" / "formats.jsx"


def test_dates_are_american_and_say_their_zone() -> None:
    assert formats.day(date(2026, 11, 9)) == "Nov 9, 2026"
    assert formats.moment(datetime(2026, 12, 1, tzinfo=UTC)) == "Dec 1, 2026"
    ahead = timezone(timedelta(hours=2))
    assert (
        formats.moment(datetime(2026, 12, 1, 1, 30, tzinfo=ahead)) == "Nov 30, 2026, 11:30 PM UTC"
    )
    assert formats.moment(datetime(2026, 12, 1, 0, 5, tzinfo=UTC)) == "Dec 1, 2026, 12:05 AM UTC"
    assert formats.moment(datetime(2026, 12, 1, 12, tzinfo=UTC)) == "Dec 1, 2026, 12:00 PM UTC"


@pytest.mark.parametrize(
    ("amount", "charged", "exact", "tag"),
    [
        ("0", "$0.00", "$0.000000", "$0"),
        ("20", "$20.00", "$20.000000", "$20"),
        ("1200.00", "$1,200.00", "$1,200.000000", "$1,200"),
        ("0.5", "$0.50", "$0.500000", "$0.50"),
        ("0.075", "$0.08", "$0.075000", "$0.075"),
        ("1234.565", "$1,234.57", "$1,234.565000", "$1,234.565"),
        ("-0.000078", "$0.00", "−$0.000078", "−$0.000078"),
        ("-1", "−$1.00", "−$1.000000", "−$1"),
    ],
)
def test_dollars_have_one_precision_for_each_purpose(
    amount: str, charged: str, exact: str, tag: str
) -> None:
    found = Decimal(amount)
    assert (formats.usd(found), formats.exact_usd(found)) == (charged, exact)
    assert formats.price(found) == tag


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0", "$0.00"),
        ("0.004", "<$0.01"),
        ("-0.004", "−<$0.01"),
        ("0.005", "$0.01"),
        ("7", "$7.00"),
    ],
)
def test_sum_of_small_costs_is_not_nothing(amount: str, written: str) -> None:
    assert formats.sum_usd(Decimal(amount)) == written


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (2000, "usd", "$20.00"),
        (123_456_789, "EUR", "€1,234,567.89"),
        (5, "gbp", "£0.05"),
        (1999, "chf", "19.99 CHF"),
        (2000, "jpy", "2,000 JPY"),
        (0, "usd", "$0.00"),
        (-150, "usd", "−$1.50"),
    ],
)
def test_money_is_written_in_its_currency(amount: int, currency: str, written: str) -> None:
    assert formats.money(amount, currency) == written


@pytest.mark.parametrize(
    ("share", "written"),
    [(1, "100%"), (Decimal("0.125"), "12%"), (-0.5, "−50%"), (-0.001, "0%"), (0, "0%")],
)
def test_percent_has_no_space(share: Decimal | float, written: str) -> None:
    assert formats.percent(share) == written


def test_browser_writes_the_same(tmp_path: Path) -> None:
    # Node knows a module by its suffix; the build wants .jsx.
    module = tmp_path / "formats.mjs"
    module.write_text(SOURCE.read_text("utf-8"), "utf-8")
    moments = [
        "2026-11-09T00:05:00+00:00",
        "2026-12-01T12:00:00+00:00",
        "2026-06-30T23:30:00+00:00",
    ]
    amounts = ["0", "20", "1200", "0.5", "0.075", "1234.567", "-1"]
    script = f"""
      import {{ date, moment, usd, exactUsd, price }} from {json.dumps(module.as_uri())};
      const moments = {json.dumps(moments)}, amounts = {json.dumps(amounts)};
      console.log(JSON.stringify([
        moments.map((at) => [date(at, "UTC"), moment(at, "UTC")]),
        amounts.map((amount) => [usd(amount), exactUsd(amount), price(amount)]),
      ]));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [
        [
            [formats.day(at), formats.moment(at).removesuffix(" UTC")]
            for at in map(datetime.fromisoformat, moments)
        ],
        [
            [formats.usd(found), formats.exact_usd(found), formats.price(found)]
            for found in map(Decimal, amounts)
        ],
    ]
