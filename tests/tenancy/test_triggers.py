"""What the database does by itself."""

from __future__ import annotations

import psycopg
from sqlalchemy import text

from tests.tenancy.conftest import Cast, sign_up
from tests.tenancy.rows import Person


def test_sign_up_makes_a_free_profile_with_the_name_that_was_given(
    schema_owner: psycopg.Connection,
) -> None:
    person = Person()
    sign_up(schema_owner, person)
    assert schema_owner.execute(
        "select email, full_name, role, plan, subscription_status from profiles where id = %s",
        [person.id],
    ).fetchall() == [(person.email, "Ada Lovelace", "user", "free", "free")]


def test_sign_up_can_not_choose_its_role_and_its_name_is_cut(
    schema_owner: psycopg.Connection,
) -> None:
    person = Person()
    schema_owner.execute(
        "insert into auth.users (id, email, raw_user_meta_data) values (%s, %s,"
        " jsonb_build_object('full_name', repeat('x', 500), 'role', 'admin', 'plan', 'pro'))",
        [person.id, person.email],
    )
    assert schema_owner.execute(
        "select role, plan, char_length(full_name) from profiles where id = %s", [person.id]
    ).fetchall() == [("user", "free", 120)]


def test_account_without_an_address_or_a_name_still_gets_a_profile(
    schema_owner: psycopg.Connection,
) -> None:
    person = Person()
    schema_owner.execute("insert into auth.users (id) values (%s)", [person.id])
    assert schema_owner.execute(
        "select email, full_name from profiles where id = %s", [person.id]
    ).fetchall() == [("", "")]


async def test_profile_follows_a_changed_address(
    cast: Cast, schema_owner: psycopg.Connection
) -> None:
    changed = f"new-{cast.ada.email}"
    schema_owner.execute("update auth.users set email = %s where id = %s", [changed, cast.ada.id])
    async with cast.acting("owner") as session:
        assert (await session.execute(text("select email from profiles"))).scalar_one() == changed


def test_every_table_that_says_when_it_was_updated_keeps_it_true(
    cast: Cast, schema_owner: psycopg.Connection
) -> None:
    tables = [
        name
        for (name,) in schema_owner.execute(
            "select attrelid::regclass::text from pg_attribute a join pg_class c on c.oid = attrelid"
            " where attname = 'updated_at' and relkind = 'r' and relnamespace = 'public'::regnamespace"
        )
    ]
    assert "profiles" in tables
    for table in tables:
        key = "id" if table == "profiles" else "user_id"
        later = schema_owner.execute(
            f"update {table} set created_at = created_at where {key} = %s"  # pyright: ignore[reportArgumentType]
            " returning updated_at = now() and updated_at > created_at",
            [cast.ada.id],
        ).fetchall()
        assert later == [(True,)], table
