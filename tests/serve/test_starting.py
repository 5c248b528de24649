"""What `serve` refuses to start with, and why."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from aisaas.settings import PROJECT_ROOT
from devstack.stack import Stack
from tests.serve.conftest import command, settings

pytestmark = pytest.mark.usefixtures("front_end")

URL = "http://127.0.0.1:4000"


def said(env: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        command("serve", "--check", *arguments),
        env=env,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_several_workers_keep_their_tabs_in_redis(stack: Stack, tmp_path: Path) -> None:
    env = settings(tmp_path, stack, URL, TAB_STATES="memory")
    status, words = said(env, "--workers", "2")
    assert status == 1
    assert "TAB_STATES: must be redis with several workers" in words


def test_nothing_is_embedded(stack: Stack, tmp_path: Path) -> None:
    env = settings(tmp_path, stack, URL, APP_ENV="development", REDIS_URL="")
    status, words = said(env)
    assert status == 1
    assert "`serve` starts nothing of its own" in words
    assert "Redis" in words


def test_a_database_of_an_older_release_is_refused_until_it_is_migrated(
    stack: Stack, tmp_path: Path
) -> None:
    name = f"tests_{uuid4().hex}"
    url = stack.env["MIGRATION_DATABASE_URL"]
    service = urlsplit(stack.env["SERVICE_DATABASE_URL"])._replace(path=f"/{name}").geturl()
    env = settings(tmp_path, stack, URL, SERVICE_DATABASE_URL=service)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            status, words = said(env)
        finally:
            connection.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))
    assert status == 1
    assert "The database lacks" in words
    assert "python -m aisaas migrate" in words
    env = settings(tmp_path, stack, URL, MIGRATION_DATABASE_URL="")
    assert said(env) == (0, "Ready to start.\n")
