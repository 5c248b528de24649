"""Databases of their own on the shared server, empty or migrated."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from aisaas.db.migrate import upgrade
from devstack.stack import Stack

# The least that a Supabase database has.
SUPABASE = """
    create schema auth;
    create table auth.users (id uuid primary key, email text, raw_user_meta_data jsonb);
    create function auth.uid() returns uuid language sql stable as $$
      select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
    grant usage on schema auth to anon, authenticated, service_role;
"""


@contextmanager
def migrated_database(stack: Stack) -> Generator[str]:
    """The same with all migrations, which ran once for all of them."""
    with own_database(stack, template=_template(stack.env["MIGRATION_DATABASE_URL"])) as url:
        yield url


@cache
def _template(url: str) -> str:
    """A migrated database that nobody connects to; it goes with its server. Its name."""
    name = f"tests_template_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    address = urlsplit(url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(address, autocommit=True) as inside:
        inside.execute(SUPABASE)
    upgrade(address)
    return name


@contextmanager
def own_database(stack: Stack, prepare: str = "", *, template: str = "template1") -> Generator[str]:
    """One more database on the same server; its address as the owner of the schema."""
    url = stack.env["MIGRATION_DATABASE_URL"]
    name = f"tests_{uuid4().hex}"
    other = urlsplit(url)._replace(path=f"/{name}").geturl()
    create = sql.SQL("create database {} template {}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        if prepare:
            with psycopg.connect(other, autocommit=True) as inside:
                inside.execute(prepare)  # pyright: ignore[reportArgumentType, reportCallIssue]
        yield other
    finally:
        # The server may have been away meanwhile, and an old connection with it.
        with psycopg.connect(url, autocommit=True) as connection:
            # The owner of the schema may end its own sessions only; those of others are on their way.
            others = "select 1 from pg_stat_activity where datname = %s and usename <> current_user"
            while connection.execute(others, [name]).fetchall():
                time.sleep(0.02)
            drop = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            deadline = time.monotonic() + 60
            while True:
                try:
                    connection.execute(drop)
                    break
                except psycopg.errors.InsufficientPrivilege:
                    # One that came since, like autovacuum's.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
