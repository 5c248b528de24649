"""The controls page: what it shows, to whom, and what its actions do."""

from __future__ import annotations

from collections.abc import Generator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from aisaas.adapters.litellm_facts import facts_of
from aisaas.adapters.litellm_prices import price_of
from aisaas.billing.plans.terms import plans
from aisaas.controls.found_models import Found
from aisaas.controls.ports import FoundModel
from aisaas.settings import Settings
from aisaas.ui.admin.controls import view
from aisaas.ui.admin.controls.found import FoundModels
from aisaas.ui.admin.controls.state import Controls
from aisaas.wiring import Services
from tests.admin.members import new_admin
from tests.services import Database, Member, new_member
from tests.ui.tabs import JUNK, Tab, by_name, open_tab

PAGE = "/admin/controls"
WHY = "a drill"
MODEL = {
    "subject": "small-window",
    "enabled": "on",
    "plan_free": "yes",
    "weight": "2",
    "reason": WHY,
}
FOUND = {
    "subject": "demo openai/demo-added",
    "label": "Added",
    "plan_pro": "yes",
    "input_usd": "2",
    "output_usd": "8",
    "context_window": "16,000",
    "max_output": "4096",
    "fallback": "demo",
    "reason": WHY,
}
HANDLERS: dict[Any, dict[str, Any]] = {
    Controls.load: {},
    Controls.set_cap: {"form": {"subject": "free", "usd": "3", "reason": WHY}},
    Controls.engage: {"form": {"scope": "plan:pro", "reason": WHY}},
    Controls.lift: {"form": {"subject": "plan:pro", "reason": WHY}},
    Controls.change_model: {"form": MODEL},
    Controls.retire_model: {"form": {"subject": "small-window", "reason": WHY}},
    Controls.restore_model: {"form": {"subject": "gpt-4o", "reason": WHY}},
    Controls.remove_model: {"form": {"subject": "added", "reason": WHY}},
    FoundModels.find: {"form": {"provider": "demo", "search": ""}},
    FoundModels.add: {"form": FOUND},
}
ACTIONS = [each for each in HANDLERS if each not in (Controls.load, FoundModels.find)]

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    """They are everybody's."""
    yield
    _reset(database)


def _reset(database: Database) -> None:
    for table in ("kill_switches", "spending_caps", "model_overrides", "added_models"):
        database(f"delete from private.{table}")


@pytest.fixture
async def admin(domain: Services, database: Database) -> Member:
    return await new_admin(domain, database)


async def _act(tab: Tab, handler: Any, **form: str) -> None:
    acted = tab.vars.get("area.acted", 0)
    await tab.call(handler, path=PAGE, form={"reason": WHY, **form})
    assert not tab.refused
    assert tab.vars["area.acted"] == acted + 1


def _row(tab: Tab, model: str) -> view.ModelRowView:
    return next(row for row in tab.vars["controls.models"] if row.id == model)


async def test_an_admin_changes_a_cap_and_gives_it_back(admin: Member, database: Database) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Controls.load, path=PAGE)
        assert tab.vars["controls.ready"] is True
        assert [cap.scope for cap in tab.vars["controls.caps"]] == ["free", "total"]
        await _act(tab, Controls.set_cap, subject="total", usd="$750.50")
        total = tab.vars["controls.caps"][1]
        assert "of $750.50" in total.words
        assert (total.hint, total.fields[0]["value"]) == ("Set by an admin.", "750.5")
        await _act(tab, Controls.set_cap, subject="total", usd="")
        assert tab.vars["controls.caps"][1].hint == "From the settings."
    assert database("select count(*) from private.spending_caps") == [(0,)]


async def test_an_admin_stops_calls_and_lets_them_through_again(
    admin: Member, database: Database
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Controls.load, path=PAGE)
        scopes = [option["value"] for option in tab.vars["controls.switch_fields"][0]["options"]]
        assert {"all", "plan:free", "provider:demo", "model:demo"} <= set(scopes)
        await _act(tab, Controls.engage, scope="plan:business", stop_running="yes")
        (switch,) = tab.vars["controls.switches"]
        assert (switch.name, switch.running, switch.reason) == ("Plan Business", "Stopped", WHY)
        await _act(tab, Controls.lift, subject="plan:business")
        assert tab.vars["controls.switches"] == []
    actor = f"user:{admin.principal.user_id}"
    assert database("select action from audit_log where actor = %s order by created_at", actor) == [
        ("kill_switch.engage",),
        ("kill_switch.lift",),
    ]


async def test_an_admin_changes_a_model_and_gives_it_back(
    admin: Member, domain: Services, database: Database
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Controls.load, path=PAGE)
        before = _row(tab, "small-window")
        filled = {field["name"]: field.get("value", "") for field in before.fields}
        # What is only looked at and saved changes nothing.
        await _act(tab, Controls.change_model, subject="small-window", **filled)
        assert database("select count(*) from private.model_overrides") == [(0,)]
        await _act(
            tab,
            Controls.change_model,
            subject="small-window",
            **(filled | {"plan_free": "", "weight": "2.5", "input_usd": "3", "output_usd": "5"}),
        )
        row = _row(tab, "small-window")
        assert (row.plans, row.weight, row.price) == ("Pro, Business", "2.5", "$3 / $5")
        assert row.margins == [
            # (3 × $3 + $5) / 4 to pay; $25 and $20.8333 a million to get.
            "Pro: 86% included, 86% extra usage",
            "Business: 83% included, 82% extra usage",
        ]
        assert domain.catalogue.get("small-window") is not None
        await _act(tab, Controls.change_model, subject="small-window", **filled)
        assert _row(tab, "small-window") == before
        await _act(
            tab, Controls.change_model, subject="small-window", **(filled | {"enabled": "off"})
        )
        assert _row(tab, "small-window").state == "Off"


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_others_find_nothing_here(domain: Services, database: Database, handler: Any) -> None:
    member = await new_member(domain)
    async with open_tab(member.cookie) as tab:
        await tab.call(handler, path=PAGE, **HANDLERS[handler])
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True
    for table in ("kill_switches", "spending_caps", "model_overrides", "added_models"):
        assert database(f"select count(*) from private.{table}") == [(0,)]


@pytest.mark.parametrize("handler", ACTIONS, ids=by_name)
async def test_without_a_reason_nothing_is_done(
    admin: Member, database: Database, handler: Any
) -> None:
    async with open_tab(admin.cookie) as tab:
        form = HANDLERS[handler]["form"] | {"reason": " "}
        await tab.call(handler, path=PAGE, form=form)
        assert tab.refused == "action_invalid"
    actor = f"user:{admin.principal.user_id}"
    assert database("select count(*) from audit_log where actor = %s", actor) == [(0,)]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
async def test_junk_is_refused_and_does_nothing(
    admin: Member, database: Database, junk: Any
) -> None:
    reason = uuid4().hex
    async with open_tab(admin.cookie) as tab:
        for handler in (*ACTIONS, FoundModels.find):
            await tab.call(handler, path=PAGE, form=junk)
            names = dict.fromkeys([*HANDLERS[handler]["form"], "scope"], junk)
            await tab.call(handler, path=PAGE, form=names | {"reason": reason})
    assert database("select count(*) from audit_log where reason = %s", reason) == [(0,)]


@pytest.mark.parametrize("usd", ["-1", "1e9", "NaN", "ten", "1,5", "9999999"])
async def test_amount_that_no_cap_can_be_is_refused(admin: Member, usd: str) -> None:
    async with open_tab(admin.cookie) as tab:
        form = {"subject": "free", "usd": usd, "reason": WHY}
        await tab.call(Controls.set_cap, path=PAGE, form=form)
        assert tab.refused == "action_invalid"


@pytest.mark.parametrize(
    "changed",
    [
        {"input_usd": "1"},
        {"cached_input_usd": "1"},
        {"weight": "0"},
        {"weight": "-1"},
        {"plan_free": ""},
        {"subject": "no-such"},
    ],
)
async def test_model_that_can_not_be_sold_like_that_is_refused(
    admin: Member, changed: dict[str, str]
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Controls.change_model, path=PAGE, form=MODEL | changed)
        assert tab.refused == "action_invalid"


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "demo"},
        {"subject": "nowhere openai/demo-added"},
        {"subject": "demo anthropic/claude"},
        {"subject": "demo openai/demo"},
        {"label": ""},
        {"label": "x" * 81},
        {"plan_pro": ""},
        {"input_usd": "", "output_usd": ""},
        {"output_usd": ""},
        {"input_usd": "-1"},
        {"context_window": ""},
        {"context_window": "1e6"},
        {"context_window": "-16000"},
        {"max_output": "16001"},
        {"fallback": "nobody"},
    ],
)
async def test_model_that_can_not_be_added_like_that_is_refused(
    admin: Member, database: Database, changed: dict[str, str]
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(FoundModels.add, path=PAGE, form=FOUND | changed)
        assert tab.refused == "action_invalid"
    assert database("select count(*) from private.added_models") == [(0,)]


async def test_an_admin_adds_what_is_found_and_removes_it(
    admin: Member, domain: Services, database: Database
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Controls.load, path=PAGE)
        assert "demo" in [each.id for each in tab.vars["controls.providers"]]
        await tab.call(FoundModels.find, path=PAGE, form={"provider": "demo", "search": "LARGE"})
        assert tab.vars["found_models.said"] == "1 model found."
        (found,) = tab.vars["found_models.rows"]
        assert (found.name, found.listed, found.fields) == (
            "openai/demo-large",
            "Demo large",
            [],
        )
        await _act(tab, FoundModels.add, **FOUND)
        row = _row(tab, "demo-added")
        assert (row.name, row.added, row.state, row.price) == ("Added", True, "On", "$2 / $8")
        assert (row.plans, row.weight, row.about) == ("Pro", "12", ["Added by an admin"])
        scopes = [option["value"] for option in tab.vars["controls.switch_fields"][0]["options"]]
        assert "model:demo-added" in scopes
        await _act(tab, Controls.remove_model, subject="demo-added")
        assert "demo-added" not in [each.id for each in tab.vars["controls.models"]]
    actor = f"user:{admin.principal.user_id}"
    assert database("select action from audit_log where actor = %s order by created_at", actor) == [
        ("model.add",),
        ("model.remove",),
    ]


async def test_found_model_is_prefilled_and_without_a_price_asks_for_one(
    admin: Member, domain: Services, database: Database
) -> None:
    plain = found_model("openai/gpt-6-luna")
    fields = {each["name"]: each for each in plain.fields}
    assert fields["label"]["value"] == "gpt-6-luna"
    price = price_of("openai/gpt-6-luna")
    assert price is not None
    assert fields["input_usd"]["value"] == view.plain(price.input_usd)
    # The free plan costs the operator: it is not chosen beforehand.
    assert (fields["plan_free"]["value"], fields["plan_pro"]["value"]) == ("", "yes")
    unknown = found_model("openai/unheard-of")
    fields = {each["name"]: each for each in unknown.fields}
    assert (unknown.price, unknown.size) == ("Unknown", "Unknown")
    assert fields["input_usd"]["value"] == ""
    assert "Enter what the provider charges" in fields["input_usd"]["hint"]


def found_model(upstream: str) -> view.FoundView:
    facts = facts_of(upstream)
    model = FoundModel(
        "openai",
        upstream,
        price_of(upstream),
        facts.context_window,
        facts.max_output,
        facts.abilities,
    )
    return view.found_view(Found(model, None), plans(Settings.model_construct()), [])


async def test_a_model_is_retired_with_its_successor_and_restored(admin: Member) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Controls.load, path=PAGE)
        (field,) = tab.vars["controls.retire_fields"]
        options = [option["value"] for option in field["options"]]
        assert options[0] == ""
        assert "demo" in options
        assert "gpt-4o" not in options
        await _act(tab, Controls.retire_model, subject="small-window", successor="demo")
        row = _row(tab, "small-window")
        assert (row.state, row.retired, row.about) == ("Retired", True, ["Successor: Demo"])
        await _act(tab, Controls.restore_model, subject="small-window")
        assert _row(tab, "small-window").state == "On"


async def test_an_added_model_that_is_not_sold_is_shown_and_can_be_removed(
    admin: Member, database: Database
) -> None:
    database(
        "insert into private.added_models (model, label, provider, upstream, context_window,"
        " max_output, plans, added_by) values ('lost', 'Lost', 'nowhere', 'x/y', 1000, 100,"
        " '{free}', 'tests')"
    )
    async with open_tab(admin.cookie) as tab:
        await tab.call(Controls.load, path=PAGE)
        (left,) = tab.vars["controls.left_out"]
        assert left.sentence == "Lost isn't sold: its provider, nowhere, isn't configured."
        await _act(tab, Controls.remove_model, subject="lost")
        assert tab.vars["controls.left_out"] == []


def test_page_names_who_is_notified_and_says_when_nobody_is() -> None:
    assert "set SMTP_URL" in view.alert_channels(mails=False, webhook=False)
    assert "by email and by webhook" in view.alert_channels(mails=True, webhook=True)
    assert "by email at" in view.alert_channels(mails=True, webhook=False)


def test_small_numbers_are_written_out() -> None:
    assert view.plain(Decimal("0.000001")) == "0.000001"
    assert view.plain(Decimal(100)) == "100"
