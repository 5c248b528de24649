"""What is wrong with the walls between tenants is reported, with the statement that fixes it."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from aisaas.cli.checklist import tenancy
from aisaas.cli.checklist.database import Connections, connections
from tests.production.conftest import Configure, by_item


@pytest.mark.usefixtures("people")
def test_fresh_install_keeps_its_tenants_apart(opened: Connections) -> None:
    found = by_item(tenancy.look(opened))
    assert [each for each in found.values() if each.state != "ok"] == []
    assert "nothing of 2 tables with rows" in found["proof of isolation"].said


def test_nothing_is_proved_by_empty_tables(opened: Connections) -> None:
    found = by_item(tenancy.look(opened))["proof of isolation"]
    assert found.state == "warning"
    assert "nothing to see" in found.said


@pytest.mark.usefixtures("people")
def test_service_can_tell_where_the_owners_password_is_not_set(configure: Configure) -> None:
    with connections(configure(migration_database_url=None)) as to:
        found = by_item(tenancy.look(to))
    assert [each for each in found.values() if each.state != "ok"] == []
    assert "2 tables with rows" in found["proof of isolation"].said


BROKEN: list[tuple[LiteralString, str, str, str]] = [
    (
        "alter table conversations disable row level security",
        "row level security",
        "off for public.conversations",
        "alter table public.conversations enable row level security;",
    ),
    (
        "create table public.forgotten (id int)",
        "row level security",
        "off for public.forgotten",
        "alter table public.forgotten enable row level security;",
    ),
    (
        "drop table public.usage_days cascade",
        "row level security",
        "public.usage_days missing",
        "aisaas migrate",
    ),
    (
        "create policy everybody on conversations for select to authenticated using (true)",
        "policies",
        "everybody on public.conversations",
        "drop policy everybody on public.conversations;",
    ),
    (
        "create policy visitors on conversations for select to anon"
        " using (user_id = (select auth.uid()))",
        "policies",
        "visitors on public.conversations",
        "drop policy visitors on public.conversations;",
    ),
    (
        "grant update (plan) on profiles to authenticated",
        "grants",
        "authenticated may update public.profiles (plan)",
        "revoke update (plan) on public.profiles from authenticated;",
    ),
    (
        "grant select on usage_records to anon",
        "grants",
        "anon may select public.usage_records",
        "revoke select on public.usage_records from anon;",
    ),
    (
        "grant delete on usage_records to service_role",
        "grants",
        "service_role may delete public.usage_records",
        "revoke delete on public.usage_records from service_role;",
    ),
    (
        "grant truncate on conversations to public",
        "grants",
        "authenticated may truncate public.conversations",
        "revoke truncate on public.conversations from",
    ),
    (
        "create view public.peek as select * from profiles;"
        " grant select on public.peek to authenticated",
        "grants",
        "authenticated may select public.peek",
        "revoke select on public.peek from authenticated;",
    ),
    (
        "revoke insert on conversations from authenticated;"
        " revoke insert (id, user_id, title, model) on conversations from authenticated",
        "grants",
        "authenticated may not insert public.conversations",
        "aisaas migrate",
    ),
    (
        "grant execute on function private.close_reservation to authenticated",
        "functions",
        "authenticated may call private.close_reservation",
        "revoke execute on function private.close_reservation from public, authenticated;",
    ),
]


@pytest.mark.parametrize(("breaking", "item", "said", "fix"), BROKEN)
def test_break_is_reported_with_what_mends_it(
    breaking: LiteralString,
    item: str,
    said: str,
    fix: str,
    owner: psycopg.Connection,
    opened: Connections,
) -> None:
    owner.execute(breaking)
    found = by_item(tenancy.look(opened))[item]
    assert found.state == "failed"
    assert said in found.said
    assert fix in found.fix


@pytest.mark.parametrize("verb", ["select", "insert", "update"])
def test_dropped_policy_keeps_owners_out_and_is_reported(
    verb: str, owner: psycopg.Connection, opened: Connections
) -> None:
    dropped = owner.execute(
        "select format('drop policy %%I on conversations', policyname) from pg_policies"
        " where tablename = 'conversations' and lower(cmd) = %s",
        [verb],
    ).fetchall()
    assert len(dropped) == 1
    owner.execute(dropped[0][0])
    found = by_item(tenancy.look(opened))["policies"]
    assert found.state == "failed"
    assert f"none for {verb} on public.conversations" in found.said


BREACHES: list[tuple[LiteralString, str]] = [
    ("using (true)", "authenticated sees a row of public.conversations"),
    ("using (true) with check (true)", "authenticated changes public.conversations"),
    ("using (true) with check (true)", "authenticated adds to public.conversations"),
    (
        "using (user_id = (select auth.uid()) or true)",
        "authenticated sees a row of public.conversations",
    ),
]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(("rule", "breach"), BREACHES)
def test_made_up_user_gets_through_a_hole_and_leaves_no_trace(
    rule: LiteralString, breach: str, owner: psycopg.Connection, opened: Connections
) -> None:
    owner.execute(f"create policy hole on conversations to authenticated {rule}")
    before = owner.execute("select * from conversations").fetchall()
    found = by_item(tenancy.look(opened))["proof of isolation"]
    assert found.state == "failed"
    assert breach in found.said
    assert owner.execute("select * from conversations").fetchall() == before != []


@pytest.mark.usefixtures("people")
def test_hole_for_deleting_is_found_without_deleting(
    owner: psycopg.Connection, opened: Connections
) -> None:
    owner.execute("grant delete on conversations to authenticated")
    owner.execute("create policy hole on conversations to authenticated using (true)")
    found = by_item(tenancy.look(opened))["proof of isolation"]
    assert "authenticated deletes from public.conversations" in found.said
    assert owner.execute("select count(*) from conversations").fetchone() == (1,)


@pytest.mark.usefixtures("people")
def test_login_of_requests_has_no_identity_left_after_the_try(opened: Connections) -> None:
    list(tenancy.look(opened))
    who = opened.requests.execute(
        "select current_user::text, coalesce(current_setting('request.jwt.claims', true), '')"
    ).fetchone()
    assert who == ("app_rw", "")
