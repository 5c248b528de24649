"""Usage as a file: by the route for admins, and at the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from aisaas.admin import usage
from aisaas.admin.usage import Cell
from aisaas.admin.usage_export import columns, csv_text, json_text
from aisaas.api import usage_csv
from aisaas.api.serving import serving
from aisaas.cli import environment, main
from aisaas.errors import Unavailable
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.admin.lines import Line, append, own_days
from tests.admin.members import new_admin
from tests.admin.test_usage import at
from tests.services import EMBEDDED, Database, Member, new_member

PATH = "/api/admin/usage.csv"


@pytest.fixture
async def admin(services: Services, database: Database) -> Member:
    return await new_admin(services, database)


@pytest.fixture
def begin() -> date:
    return own_days()


@pytest.fixture
async def browser(services: Services) -> AsyncGenerator[httpx.AsyncClient]:
    app = httpx.ASGITransport(serving(usage_csv.routes(), lambda: services))
    async with httpx.AsyncClient(transport=app, base_url="http://127.0.0.1:3000") as client:
        yield client


def days(begin: date, number: int) -> dict[str, str]:
    return {"from": str(begin), "to": str(begin + timedelta(days=number - 1))}


async def get(
    browser: httpx.AsyncClient, member: Member, **query: str
) -> Sequence[Mapping[str, str]]:
    answer = await browser.get(PATH, params=query, headers={"cookie": member.cookie})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "no-store" in answer.headers["cache-control"]
    named = f"usage-{query['from']}-{query['to']}-by-{query.get('by', 'day')}.csv"
    assert answer.headers["content-disposition"] == f'attachment; filename="{named}"'
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


# The route


async def test_file_has_every_row_with_every_digit(
    browser: httpx.AsyncClient, database: Database, admin: Member, begin: date
) -> None:
    ada, gone = admin.principal, uuid4()
    tiny = Decimal("0.000001")
    append(
        database,
        [
            Line(user_id=ada.user_id, at=at(begin, 3), model="m-1", cost=tiny),
            Line(user_id=ada.user_id, at=at(begin, 4), model="m-2", outcome="failed"),
            Line(user_id=gone, at=at(begin + timedelta(days=1)), model="m-1", overage=tiny),
            Line(user_id=gone, at=at(begin + timedelta(days=2))),
        ],
    )
    span = days(begin, 2)
    by_user = {row["user"]: row for row in await get(browser, admin, **span, by="user")}
    assert set(by_user) == {str(ada.user_id), str(gone)}
    row = by_user[str(ada.user_id)]
    assert (row["email"], row["plan"], row["cost_usd"]) == (ada.email, "free", "0.000154")
    assert (row["requests"], row["failed"], row["prompt_tokens"]) == ("2", "1", "6")
    assert (by_user[str(gone)]["email"], by_user[str(gone)]["overage_usd"]) == ("", "0.000001")
    by_day = await get(browser, admin, **span)
    assert [(each["day"], each["requests"]) for each in by_day] == [
        (str(begin), "2"),
        (str(begin + timedelta(days=1)), "1"),
    ]
    by_hour = await get(browser, admin, **span, by="hour")
    assert [each["hour"] for each in by_hour][:2] == [f"{begin}T03:00Z", f"{begin}T04:00Z"]
    by_model = {each["model"]: each for each in await get(browser, admin, **span, by="model")}
    assert {name: each["requests"] for name, each in by_model.items()} == {"m-1": "2", "m-2": "1"}


async def test_many_users_are_read_in_parts_and_each_is_there_once(
    browser: httpx.AsyncClient,
    database: Database,
    admin: Member,
    begin: date,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage, "EXPORTED", 4)
    people = [uuid4() for _ in range(12)]
    append(database, [Line(user_id=each, at=at(begin)) for each in people])
    rows = await get(browser, admin, **days(begin, 1), by="user")
    assert [UUID(row["user"]) for row in rows] == sorted(people)


async def test_span_without_use_is_a_file_with_names_only(
    browser: httpx.AsyncClient, admin: Member, begin: date
) -> None:
    for by in ("user", "model", "day", "hour"):
        query = {**days(begin, 1), "by": by}
        answer = await browser.get(PATH, params=query, headers={"cookie": admin.cookie})
        assert answer.text.strip() == ",".join(columns(by))


async def test_address_that_is_a_formula_stays_a_text(
    browser: httpx.AsyncClient,
    services: Services,
    database: Database,
    admin: Member,
    begin: date,
) -> None:
    user_id = (await new_member(services)).principal.user_id
    formula = '=HYPERLINK("http://x.example";A1)'
    database("update profiles set email = %s where id = %s", formula, user_id)
    append(database, [Line(user_id=user_id, at=at(begin))])
    (row,) = await get(browser, admin, **days(begin, 1), by="user")
    assert row["email"] == f"'{formula}"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
async def test_no_cell_begins_as_a_formula(start: str) -> None:
    text = "".join([part async for part in csv_text(_rows({"model": f"{start}1"}), "model")])
    cell = next(iter(csv.DictReader(io.StringIO(text, newline=""))))["model"]
    assert cell == f"'{start}1"


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"from": "2026-01-02", "to": "2026-01-01"},
        {"from": "2026-01-01", "to": "2026-02-30"},
        {"from": "1900-01-01", "to": "2026-01-01"},
        {"from": "2026-01-01", "to": "2026-01-02", "by": "password"},
        {"from": "'; drop table usage_days", "to": "2026-01-02"},
    ],
)
async def test_question_that_makes_no_sense_is_answered_with_what_does(
    browser: httpx.AsyncClient, admin: Member, query: dict[str, str]
) -> None:
    answer = await browser.get(PATH, params=query, headers={"cookie": admin.cookie})
    assert answer.status_code == 422
    assert "like 2026-11-30" in answer.text


async def test_for_others_it_leads_nowhere(
    browser: httpx.AsyncClient, services: Services, begin: date
) -> None:
    other = await new_member(services)
    query = days(begin, 1)
    assert (await browser.get(PATH, params=query)).status_code == 401
    answer = await browser.get(PATH, params=query, headers={"cookie": other.cookie})
    assert answer.status_code == 404
    # Nor does it tell them what it would have understood.
    assert (await browser.get(PATH, headers={"cookie": other.cookie})).status_code == 404


async def test_file_is_not_begun_while_the_database_is_away(
    browser: httpx.AsyncClient,
    services: Services,
    admin: Member,
    begin: date,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(usage.store, "totals", away)
    answer = await browser.get(PATH, params=days(begin, 1), headers={"cookie": admin.cookie})
    assert answer.status_code == 503


# JSON


async def _rows(*rows: Mapping[str, Cell]) -> AsyncIterator[Mapping[str, Cell]]:
    for row in rows:
        yield row


async def test_json_is_one_array_and_loses_no_digit() -> None:
    rows = ({"day": "2026-01-01", "cost_usd": Decimal("1E-6"), "requests": 2}, {"day": "=1"})
    for number in range(3):
        text = "".join([part async for part in json_text(_rows(*rows[:number]))])
        assert (
            json.loads(text)
            == [
                {"day": "2026-01-01", "cost_usd": "0.000001", "requests": 2},
                {"day": "=1"},
            ][:number]
        )


# The command line


@pytest.fixture
def own_environment(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, catalogue: Path, tmp_path: Path
) -> Generator[None]:
    monkeypatch.setenv("AISAAS_DATA_DIR", str(tmp_path / "own"))
    for name, value in stack.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EMBEDDED_PARTS", EMBEDDED)
    monkeypatch.setenv("MODEL_CATALOGUE", str(catalogue))
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)
    monkeypatch.delenv("SMTP_URL", raising=False)
    # A process reads them once.
    environment.configured.cache_clear()
    yield
    environment.configured.cache_clear()


@pytest.mark.usefixtures("own_environment")
def test_export_and_check_at_the_command_line(
    database: Database, begin: date, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user_id = uuid4()
    append(database, [Line(user_id=user_id, at=at(begin), cost=Decimal("0.25"))])
    span = ["--from", str(begin), "--to", str(begin + timedelta(days=3))]
    assert main(["usage", "export", *span, "--format", "json"]) == 0
    (day,) = json.loads(capsys.readouterr().out)
    assert (day["day"], day["requests"], day["cost_usd"]) == (str(begin), 1, "0.250000")

    file = tmp_path / "usage.csv"
    assert main(["usage", "export", *span, "--by", "user", "--output", str(file)]) == 0
    (row,) = csv.DictReader(io.StringIO(file.read_text(), newline=""))
    assert row["user"] == str(user_id)
    assert [each.name for each in tmp_path.iterdir()] == ["usage.csv"]
    assert capsys.readouterr().out == ""

    assert main(["usage", "check", *span]) == 0
    assert "to the last digit" in capsys.readouterr().out
    database("update usage_days set quota_tokens = 0 where user_id = %s", user_id)
    assert main(["usage", "check", *span, "--json"]) == 1
    (difference,) = json.loads(capsys.readouterr().out)["differences"]
    assert (difference["ledger"], difference["sums"]) == ("quota_tokens 7", "quota_tokens 0")


@pytest.mark.usefixtures("own_environment")
def test_receipts_are_computed_again_at_the_command_line(
    database: Database, begin: date, capsys: pytest.CaptureFixture[str]
) -> None:
    # Seven tokens at a dollar per million, and one line whose cached token has no stored price.
    right = Line(user_id=uuid4(), at=at(begin), cached=0, cost=Decimal("0.000007"))
    old = Line(user_id=uuid4(), at=at(begin))
    append(database, [right, old])
    span = ["--from", str(begin), "--to", str(begin)]
    assert main(["usage", "recompute", *span]) == 0
    assert "1 the same, 0 different, 1 without a stored price." in capsys.readouterr().out

    wrong = Line(user_id=uuid4(), at=at(begin), cached=0, cost=Decimal("0.000008"))
    append(database, [wrong])
    assert main(["usage", "recompute", *span, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["same"], printed["differs"], printed["unknown"]) == (1, 1, 1)
    (difference,) = printed["differences"]
    assert (difference["cost_usd"], difference["computed_usd"]) == ("0.000008", "0.000007")
    assert main(["usage", "recompute", "--from", "2026-01-02", "--to", "2026-01-01"]) == 2


@pytest.mark.usefixtures("own_environment")
def test_days_the_wrong_way_round_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usage.csv"
    file.write_text("what was there")
    wrong = ["--from", "2026-01-02", "--to", "2026-01-01", "--output", str(file)]
    assert main(["usage", "export", *wrong]) == 2
    assert "before the first" in capsys.readouterr().err
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("usage.csv", "what was there")
    ]
    with pytest.raises(SystemExit):
        main(["usage", "export", "--from", "the first"])
