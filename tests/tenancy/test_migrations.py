"""The migrations."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import date
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic.script import ScriptDirectory

from aisaas.admin.usage import UsageReports
from aisaas.billing.ledger.usage_models import Difference, Span
from aisaas.db.engine import DatabasePool
from aisaas.db.migrate import alembic_config, is_current, missing, upgrade
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ConfigurationError, DependencyError
from alembic import command
from devstack.stack import Stack
from tests.tenancy.conftest import RELATIONS, Catalog
from tests.tenancy.databases import SUPABASE, own_database

SNAPSHOT = """
    select c.oid::text, c.relname, c.relacl::text, c.relrowsecurity::text from pg_class c
      where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
    union all
    select p.oid::text, p.proname, p.proacl::text, md5(p.prosrc) from pg_proc p
      where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
    union all
    select oid::text, polname, polqual::text, polwithcheck::text from pg_policy
    order by 1
"""


def test_migrating_twice_changes_nothing(stack: Stack, schema_owner: psycopg.Connection) -> None:
    before = schema_owner.execute(SNAPSHOT).fetchall()
    upgrade(stack.env["MIGRATION_DATABASE_URL"])
    assert schema_owner.execute(SNAPSHOT).fetchall() == before != []


def test_two_migrators_at_once_wait_for_each_other(stack: Stack, catalog: Catalog) -> None:
    program = "import sys; from aisaas.db.migrate import upgrade; upgrade(sys.argv[1])"
    with own_database(stack, SUPABASE) as url:
        both = [
            subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        failures = [process.communicate()[1].decode() for process in both]
        assert [process.returncode for process in both] == [0, 0], failures
        with psycopg.connect(url) as connection:
            assert {row[0] for row in connection.execute(RELATIONS)} == set(catalog)
            versions = connection.execute("select version_num from private.alembic_version")
            assert len(versions.fetchall()) == 1


def test_a_migrator_does_not_wait_for_another_without_end(stack: Stack) -> None:
    key = "select pg_advisory_xact_lock(7215003)"
    with own_database(stack, SUPABASE) as url:
        with psycopg.connect(url) as other:
            other.execute(key)
            with pytest.raises(DependencyError, match="another process has been migrating"):
                upgrade(url, wait_seconds=0.2)
        with psycopg.connect(url) as connection:
            assert connection.execute(RELATIONS).fetchall() == []
        upgrade(url, wait_seconds=0.2)


def test_a_migrator_that_is_killed_leaves_neither_half_a_schema_nor_the_lock(
    stack: Stack, catalog: Catalog
) -> None:
    program = "import sys; from aisaas.db.migrate import upgrade; upgrade(sys.argv[1])"
    with own_database(stack, SUPABASE) as url:
        # Someone who holds a table that a migration changes keeps the migrator waiting there.
        with psycopg.connect(url) as holder:
            holder.execute("lock table auth.users in access exclusive mode")
            process = subprocess.Popen([sys.executable, "-c", program, url])
            with psycopg.connect(url, autocommit=True) as connection:
                waiting = (
                    "select 1 from pg_locks where not granted and relation = 'auth.users'::regclass"
                )
                while not connection.execute(waiting).fetchall():
                    assert process.poll() is None
            process.kill()
            process.wait()
        upgrade(url, wait_seconds=5)
        with psycopg.connect(url) as connection:
            assert {row[0] for row in connection.execute(RELATIONS)} == set(catalog)


def test_what_a_database_lacks_is_reported_by_the_login_of_the_server(stack: Stack) -> None:
    script = alembic_config()
    ours = [found.revision for found in ScriptDirectory.from_config(script).walk_revisions()][::-1]
    assert missing(stack.env["SERVICE_DATABASE_URL"]) == ()
    with own_database(stack, SUPABASE) as url:
        service = urlsplit(stack.env["SERVICE_DATABASE_URL"])._replace(path=urlsplit(url).path)
        assert missing(service.geturl()) == tuple(ours)
        assert not is_current(service.geturl())
        script.attributes["url"] = url
        command.upgrade(script, ours[-2])
        assert missing(service.geturl()) == tuple(ours[-1:])
        assert not is_current(service.geturl())
        upgrade(url)
        assert missing(service.geturl()) == ()
        assert is_current(service.geturl())
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("update private.alembic_version set version_num = 'of tomorrow'")
        # A newer release has migrated: this one is still served beside it for a moment.
        assert missing(service.geturl()) == ()


def test_database_that_is_no_supabase_database_is_refused_and_left_alone(stack: Stack) -> None:
    with own_database(stack) as url:
        with pytest.raises(ConfigurationError) as caught:
            upgrade(url)
        (problem,) = caught.value.problems
        assert problem.startswith("DATABASE_URL: ")
        assert "auth.users" in problem
        assert "auth.uid()" in problem
        assert "must be a Supabase database" in problem
        with psycopg.connect(url) as connection:
            assert connection.execute(RELATIONS).fetchall() == []


def test_migration_that_can_not_reach_its_database_says_so_without_the_password(
    stack: Stack,
) -> None:
    parts = urlsplit(stack.env["MIGRATION_DATABASE_URL"])
    nobody_there = parts._replace(netloc=parts.netloc.rpartition(":")[0] + ":1").geturl()
    with pytest.raises(DependencyError) as caught:
        upgrade(nobody_there)
    assert "migrating the database" in str(caught.value)
    assert str(parts.password) not in str(caught.value)


def test_sums_by_day_begin_with_what_is_in_the_ledger(stack: Stack) -> None:
    script = alembic_config()
    before = ScriptDirectory.from_config(script).get_revision("0003").down_revision
    assert isinstance(before, str)
    line = """
        insert into usage_records (reservation_id, user_id, purpose, plan, model, provider,
          prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,
          input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome, created_at)
        select gen_random_uuid(), md5((n % 3)::text)::uuid, (array['reply', 'title'])[1 + n % 2],
          'free', 'm-' || n % 4, 'demo', n, 2, 'estimate', 1, n + 2, 'p-' || n % 2, 1, 1, 'tests',
          0.000001 * n, (array['done', 'stopped', 'interrupted', 'failed'])[1 + n % 4],
          '2026-01-31 20:00Z'::timestamptz + n * interval '1 hour' from generate_series(1, 90) n
    """
    summed = """
        select user_id, (created_at at time zone 'UTC')::date, period_key, model, plan, purpose,
          count(*), count(*) filter (where outcome = 'done'),
          count(*) filter (where outcome = 'stopped'),
          count(*) filter (where outcome = 'interrupted'),
          count(*) filter (where outcome = 'failed'),
          sum(prompt_tokens), sum(completion_tokens), sum(quota_tokens), sum(cost_usd)
        from usage_records group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6
    """
    with own_database(stack, SUPABASE) as url:
        script.attributes["url"] = url
        command.upgrade(script, before)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(line)
            upgrade(url)
            days = connection.execute("select * from usage_days order by 1, 2, 3, 4, 5, 6")
            assert days.fetchall() == connection.execute(summed).fetchall() != []
            assert asyncio.run(_differ(stack, url)) == []
            # And goes on with what is added.
            connection.execute(line)
            days = connection.execute("select * from usage_days order by 1, 2, 3, 4, 5, 6")
            assert days.fetchall() == connection.execute(summed).fetchall()
            assert asyncio.run(_differ(stack, url)) == []


def test_messages_that_exist_follow_each_other_in_time(stack: Stack) -> None:
    script = alembic_config()
    before = ScriptDirectory.from_config(script).get_revision("0029").down_revision
    assert isinstance(before, str)
    grown = """
        insert into auth.users (id, email) values (md5('0')::uuid, 'ada@example.com');
        insert into conversations (id, user_id, model)
          select md5(c::text)::uuid, md5('0')::uuid, 'demo' from generate_series(1, 120) c;
        insert into messages (conversation_id, user_id, role, created_at)
          select md5(c::text)::uuid, md5('0')::uuid, 'user', now() - n * interval '1 second'
          from generate_series(1, 120) c, generate_series(1, 1 + c % 4) n
    """
    out_of_line = """
        select count(*) from (
          select parent_id, depth, lag(id) over line as before, row_number() over line - 1 as place
          from messages window line as (partition by conversation_id order by created_at, id)
        ) m where parent_id is distinct from before or depth is distinct from place
    """
    with own_database(stack, SUPABASE) as url:
        script.attributes["url"] = url
        command.upgrade(script, before)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(grown)
            # While the release before is still in use, it adds messages that don't say what they follow.
            command.upgrade(script, "0029")
            added = (
                "insert into messages (conversation_id, user_id, role) select id, user_id, 'user'"
            )
            connection.execute(f"{added} from conversations where id < md5('0')::uuid")
            upgrade(url)
            connection.execute(f"{added} from conversations")
            assert connection.execute(out_of_line).fetchall() == [(0,)]


async def _differ(stack: Stack, url: str) -> list[Difference]:
    """Where the sums over all users and for each aren't the ledger."""
    service = urlsplit(stack.env["SERVICE_DATABASE_URL"])._replace(path=urlsplit(url).path)
    login = DatabasePool(service.geturl())
    reports = UsageReports(ServiceDatabase(login), base_usd={}, caps={})
    span = Span(date(2026, 1, 31), date(2026, 2, 5))
    try:
        found = await reports.report("tests", span)
        assert found.total.figures.requests in {90, 180}
        return [each async for each in reports.compare("tests", span)]
    finally:
        await login.close()
