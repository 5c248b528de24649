"""How fast pages and jobs run their queries on a database that has grown for years, and how long a
purge takes.

Each page is what its handler requests, through the services and as an admin or a user; without the
framework and the network. The deleted history is one conversation and one account, each with the
requested number of messages.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args
from uuid import UUID

import psycopg

from aisaas.accounts.models import Principal
from aisaas.accounts.people_models import Search
from aisaas.accounts.people_models import Sort as UsersSort
from aisaas.accounts.sessions import hash_token, new_token
from aisaas.admin.provider_reports import SPANS, HealthSpan
from aisaas.billing.ledger.usage_models import Span, UserSort
from aisaas.callers import Caller
from aisaas.db.migrate import upgrade
from aisaas.settings import load
from aisaas.wiring import Services, build
from benchmarks.grown import HEAVY_USER, Sizes, fill
from devstack.stack import PARTS, Stack

ROUNDS = 5
# What a page may take at most, in seconds.
AT_MOST = 0.3

Page = Callable[[], Awaitable[object]]


def measure(sizes: Sizes, rounds: int = ROUNDS) -> dict[str, object]:
    """Seconds: the first and the median time of each page, and of each table's purge.

    Args:
        sizes: rows of each table.
        rounds: how often each page is loaded.
    """
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        url = stack.env["MIGRATION_DATABASE_URL"]
        upgrade(url)
        begin = time.perf_counter()
        fill(url, sizes, datetime.now(UTC).date())
        filled = time.perf_counter() - begin
        return {"fill_seconds": round(filled, 1), **asyncio.run(_measure(stack, rounds))}


async def _measure(stack: Stack, rounds: int) -> dict[str, object]:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    services = build(load(**(values | {"embedded_parts": ",".join(PARTS)})))
    try:
        person = await sign_in(services, stack.env["MIGRATION_DATABASE_URL"])
        found: dict[str, dict[str, float]] = {}
        for name, page in pages(services, person).items():
            times = [await _seconds(page) for _ in range(rounds)]
            found[name] = {
                "first": round(times[0], 3),
                "median": round(statistics.median(times), 3),
            }
        purged, seconds = await _purge(services)
    finally:
        await services.close()
    return {
        "pages": found,
        "slowest": max(found, key=lambda name: found[name]["median"]),
        "slower_than_0.3": [name for name, each in found.items() if each["median"] > AT_MOST],
        "purged": purged,
        "purge_seconds": seconds,
    }


async def _seconds(page: Page) -> float:
    begin = time.perf_counter()
    await page()
    return time.perf_counter() - begin


async def _purge(services: Services) -> tuple[Mapping[str, int], float]:
    begin = time.perf_counter()
    removed = await services.purge.run()
    took = time.perf_counter() - begin
    return {table: rows for table, rows in removed.items() if rows}, round(took, 1)


async def sign_in(services: Services, url: str) -> Caller:
    """The user with most of the conversations, as an admin. Needs no sign-in server."""
    token = new_token()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update profiles set role = 'admin' where id = %s", [HEAVY_USER])
        connection.execute(
            "insert into private.sessions (token_hash, user_id, access_token, refresh_token,"
            " access_expires_at, expires_at) values (%s, %s, '', '', now() + interval '1 hour',"
            " now() + interval '1 hour')",
            [hash_token(token), HEAVY_USER],
        )
    return await services.callers.resolve(f"{services.cookie}={token}")


def pages(services: Services, person: Caller) -> Mapping[str, Page]:
    """The queries of pages, downloads, metrics and jobs; all are repeatable.

    Args:
        person: an admin, who has many conversations.
    """
    return {
        **_of_users(services, person),
        **_of_usage(services, person),
        **_of_admins(services, person),
        **_of_jobs(services),
    }


def _of_users(services: Services, person: Caller) -> Mapping[str, Page]:
    conversation = UUID("00000000-0000-4000-a000-000000000001")
    opened = services.conversations.open

    async def at_a_message() -> None:
        message = (await opened(person, conversation)).messages[0].id
        await opened(person, conversation, before=message)
        await opened(person, conversation, through=message)

    return {
        "conversations": lambda: services.conversations.list(person),
        "conversation": lambda: opened(person, conversation),
        "conversation at a message": at_a_message,
        "own usage": lambda: services.usage.overview(person.billing),
        "own sessions": lambda: services.accounts.sessions(person),
    }


def _of_usage(services: Services, admin: Principal) -> Mapping[str, Page]:
    reports, last = services.usage_reports, datetime.now(UTC).date()
    month, half_year = (Span(last - timedelta(days=days - 1), last) for days in (30, 180))

    def by(sort: UserSort) -> Page:
        return lambda: reports.users(admin, month, sort=sort)

    return {
        "usage of 30 days": lambda: reports.report(admin, month),
        "usage of 180 days": lambda: reports.report(admin, half_year),
        "usage now": lambda: reports.live(admin),
        **{f"usage by user, {sort}": by(sort) for sort in get_args(UserSort)},
        "usage by user, found": lambda: reports.users(admin, month, search="user-123"),
    }


def _of_admins(services: Services, admin: Principal) -> Mapping[str, Page]:
    def users(**wanted: object) -> Page:
        return lambda: services.users.find(admin, replace(Search(), **wanted))  # pyright: ignore[reportArgumentType]

    def providers(span: HealthSpan) -> Page:
        return lambda: services.provider_reports.report(admin, span)

    money = services.money
    return {
        **{f"users, {sort}": users(sort=sort) for sort in get_args(UsersSort)},
        "users, page 5": users(sort="cost", page=5),
        "users, found": users(text="user-123"),
        "users, found, by cost": users(text="user-123", sort="cost"),
        "users, suspended": users(suspended=True),
        "users, admins": users(role="admin"),
        "users, a plan": users(plan="business"),
        "user": lambda: services.users.look(admin, admin.user_id),
        **{f"providers, {span}": providers(span) for span in SPANS},
        "audit": lambda: services.audit.page(admin),
        "audit, found": lambda: services.audit.page(admin, search="user-123"),
        "audit, found by reason": lambda: services.audit.page(admin, search="Ticket 777"),
        "audit, nothing found": lambda: services.audit.page(admin, search="nothing like it"),
        "money, usage": lambda: money.usage.health(admin),
        "money, stuck usage": lambda: money.usage.page(admin),
        "money, ledger": lambda: money.ledger.health(admin),
        "money, days that differ": lambda: money.ledger.page(admin),
        "money, webhooks": lambda: money.webhooks.health(admin),
        "money, events": lambda: money.webhooks.page(admin),
        "money, failed events": lambda: money.webhooks.page(admin, failed=True),
        "money, plans": lambda: money.entitlements.health(admin),
        "money, plans that differ": lambda: money.entitlements.page(admin),
    }


def _of_jobs(services: Services) -> Mapping[str, Page]:
    return {
        "figures": services.figures.read,
        "caps": services.caps.of_operator,
        "recovery": services.recovery.run_once,
        "alerts": services.spending_alerts.look_once,
    }
