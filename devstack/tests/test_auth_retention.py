"""What the sign-in server removes by itself, and what it keeps."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from devstack.auth import retention
from devstack.auth.database import Database
from devstack.auth.retention import OLD, remove_old
from devstack.tests.payments_client import until

# By table: an insert of a row that is so many days old, for a user and their live session.
_ROWS = {
    "auth.one_time_tokens": (
        "insert into auth.one_time_tokens (user_id, purpose, link_hash, code_hash, relates_to,"
        " created_at) values (%(user)s, 'recovery', %(key)s, 'x', 'x', %(then)s)",
        1,
        "link_hash",
    ),
    "auth.flow_state": (
        "insert into auth.flow_state (user_id, auth_code_hash, code_challenge, challenge_kind, method,"
        " created_at) values (%(user)s, %(key)s, 'x', 's256', 'x', %(then)s)",
        1,
        "auth_code_hash",
    ),
    "auth.mfa_challenges": (
        "with factor as (insert into auth.mfa_factors (user_id, friendly_name, secret)"
        " values (%(user)s, '', '') returning id) insert into auth.mfa_challenges"
        " (id, factor_id, created_at) select encode(%(key)s, 'hex')::uuid, id, %(then)s from factor",
        1,
        "uuid_send(id)",
    ),
    "auth.mailbox": (
        "insert into auth.mailbox (recipient, kind, subject, body, code, token_hash, link, created_at)"
        " values (encode(%(key)s, 'hex'), 'x', 'x', 'x', '', '', '', %(then)s)",
        7,
        "case when recipient ~ '^[0-9a-f]{32}$' then decode(recipient, 'hex') end",
    ),
    "auth.refresh_tokens": (
        "insert into auth.refresh_tokens (token_hash, session_id, revoked_at)"
        " values (%(key)s, %(session)s, %(then)s)",
        7,
        "token_hash",
    ),
    "auth.sessions": (
        "insert into auth.sessions (user_id, method, created_at, user_agent)"
        " values (%(user)s, 'password', %(then)s, encode(%(key)s, 'hex'))",
        60,
        "case when user_agent ~ '^[0-9a-f]{32}$' then decode(user_agent, 'hex') end",
    ),
}


@pytest.mark.parametrize("table", _ROWS)
async def test_rows_go_when_they_are_over_in_batches(
    table: str, auth_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    insert, days, key_of = _ROWS[table]
    database = Database(auth_database_url)
    await database.apply_schema()
    with psycopg.connect(auth_database_url, autocommit=True) as connection:

        def add(age: int) -> bytes:
            user, session, key = uuid4(), uuid4(), uuid4().bytes
            connection.execute(
                "insert into auth.users (id, email) values (%s, %s)", [user, f"{user}@example.com"]
            )
            connection.execute(
                "insert into auth.sessions (id, user_id, method) values (%s, %s, 'password')",
                [session, user],
            )
            then = connection.execute("select now() - make_interval(days => %s)", [age]).fetchone()
            assert then
            values = {"user": user, "session": session, "key": key, "then": then[0]}
            connection.execute(insert, values)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return key

        old, young = {add(days + 1) for _ in range(5)}, add(days - 1)

        def left() -> list[bytes]:
            rows = connection.execute(
                f"select {key_of} from {table} where {key_of} = any(%s)",  # pyright: ignore[reportArgumentType]
                [[*old, young]],
            )
            return [bytes(key) for (key,) in rows.fetchall()]

        try:
            await remove_old(database)
        finally:
            await database.close()
        # A server of another test may be removing the same rows.
        await until(lambda: left() == [young])


async def test_token_that_is_still_good_stays_however_old(auth_database_url: str) -> None:
    url = auth_database_url
    database = Database(url)
    await database.apply_schema()
    user, session, token = uuid4(), uuid4(), uuid4().bytes
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into auth.users (id) values (%s)", [user])
        connection.execute(
            "insert into auth.sessions (id, user_id, method, created_at, refreshed_at)"
            " values (%s, %s, 'password', now() - interval '300 days', now() - interval '59 days')",
            [session, user],
        )
        connection.execute(
            "insert into auth.refresh_tokens (token_hash, session_id, created_at)"
            " values (%s, %s, now() - interval '59 days')",
            [token, session],
        )
        try:
            await remove_old(database)
        finally:
            await database.close()
        kept = connection.execute(
            "select 1 from auth.refresh_tokens where token_hash = %s", [token]
        )
        assert kept.fetchall() == [(1,)]


def test_every_rule_is_tried() -> None:
    assert {table for table, _ in OLD} == set(_ROWS)
