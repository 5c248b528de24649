"""`check`: validates the settings and reaches every part, a line each.

`check --production` is the launch checklist; see `production.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import redis

from aisaas.adapters.smtp_mail import SmtpMail
from aisaas.adapters.stripe_catalogue import sync
from aisaas.billing.ledger.usage_models import Span
from aisaas.billing.metering.models import MeteringHealth
from aisaas.cli.build import frontend
from aisaas.cli.checklist import budget
from aisaas.cli.checklist import production as checklist
from aisaas.cli.checklist.providers import provider_lines
from aisaas.cli.environment import adopt, configured, running
from aisaas.cli.parts import AUTH, TITLES, plan
from aisaas.cli.screen import say
from aisaas.db.migrate import missing
from aisaas.errors import DependencyError, MailError, PaymentsError, PaymentsRefused, Unavailable
from aisaas.formats import count
from aisaas.settings import Settings, load
from aisaas.wiring import build

TIMEOUT_SECONDS = 5
NAME_WIDTH = 18
COMPARED_DAYS = 3


class _TroubleError(Exception):
    """Why a part cannot be used."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--production", action="store_true", help="the launch checklist, each item with its fix"
    )
    parser.add_argument("--json", action="store_true", help="the launch checklist in JSON")
    parser.add_argument(
        "--workers",
        type=int,
        default=budget.WORKERS,
        help="number of workers, to compare their connections with the limits of the database and Redis",
    )
    parser.epilog = "Exits with 1 if something is wrong. Model providers aren't called."


def execute(arguments: argparse.Namespace) -> int:
    if arguments.production or arguments.json:
        return checklist.execute(as_json=arguments.json, workers=arguments.workers)
    planned = plan(configured())
    _line("settings", f"valid, for {planned.settings.app_env}")
    instance = running()
    if planned.embedded and instance is None:
        for name in planned.embedded:
            _line(TITLES[name], "embedded; `make run` starts it")
        settings, unreachable = planned.settings, set(planned.embedded)
    else:
        adopt(instance)
        settings, unreachable = load(), set[str]()
    reachable = [each for each in _probes(settings) if each.part not in unreachable]
    schema = "postgres" in unreachable or _reach("Schema", lambda: _schema(settings))
    outcomes = [schema]
    for each in reachable:
        if each.needs_schema and not schema:
            _line(each.title, "not checked: needs the newest schema")
            continue
        outcomes.append(_reach(each.title, each.look))
    for each in asyncio.run(provider_lines(settings)):
        _line("Model provider", f"{each.label}: {each.describe()}")
    _line("front end", "built" if frontend.is_current(settings) else "`make run` will build it")
    return 0 if all(outcomes) else 1


def _line(name: str, text: str) -> None:
    say(f"{name:<{NAME_WIDTH}} {text}")


def _reach(title: str, probe: Callable[[], str]) -> bool:
    try:
        _line(title, probe())
    except _TroubleError as trouble:
        _line(title, f"TROUBLE: {trouble}")
        return False
    except Exception as error:  # noqa: BLE001  # one surprise must not hide what the others say
        _line(title, f"TROUBLE: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Probe:
    title: str
    # The embedded part that it needs, if that isn't configured.
    part: str
    look: Callable[[], str]
    needs_schema: bool = False


def _schema(settings: Settings) -> str:
    login = settings.service_database_url or settings.database_url
    assert login is not None
    try:
        lacks = missing(login.get_secret_value())
    except DependencyError as error:
        raise _TroubleError(f"can't be checked: the {error} doesn't answer") from error
    if lacks:
        raise _TroubleError(
            f"the database lacks {len(lacks)} migrations, from {lacks[0]} to {lacks[-1]}; run "
            "`python -m aisaas migrate`"
        )
    return "ok, the newest"


def _probes(settings: Settings) -> list[_Probe]:
    database = settings.database_url
    service = settings.service_database_url or database
    cache = settings.redis_url
    assert database is not None
    assert service is not None
    assert cache is not None
    probes = [
        _Probe("Database", "postgres", lambda: _database(database.get_secret_value())),
        _Probe("Database (jobs)", "postgres", lambda: _database(service.get_secret_value())),
        _Probe("Redis", "valkey", lambda: _redis(cache.get_secret_value())),
        _Probe("Sign-in", "auth", lambda: _auth(settings)),
        _Probe("Usage totals", "postgres", lambda: _sums(settings), needs_schema=True),
        _Probe("Prices", "postgres", lambda: _prices(settings), needs_schema=True),
    ]
    # The embedded sign-in server accepts email too, and then says where.
    by = AUTH if settings.smtp_url is None else "smtp"
    probes.append(_Probe("Mails", by, lambda: _mails(settings)))
    if demo := settings.demo_api_base:
        probes.append(
            _Probe("Demo model", "demo_model", lambda: _get(f"{demo.removesuffix('/v1')}/health"))
        )
    if settings.stripe_secret_key is not None:
        probes.append(_Probe("Payments", "payments", lambda: _payments(settings)))
        probes.append(_Probe("Usage", "payments", lambda: _metering(settings), needs_schema=True))
    return probes


def _database(url: str) -> str:
    try:
        with psycopg.connect(url, connect_timeout=TIMEOUT_SECONDS) as connection:
            row = connection.execute("select current_user, current_setting('server_version')")
            user, version = row.fetchone() or ("?", "?")
    except psycopg.Error as error:
        raise _TroubleError(" ".join(str(error).split())) from error
    return f"ok, as {user}, PostgreSQL {version}"


def _redis(url: str) -> str:
    client = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )
    try:
        client.ping()  # pyright: ignore[reportUnknownMemberType]
    except redis.RedisError as error:
        raise _TroubleError(str(error)) from error
    finally:
        client.close()
    return "ok"


def _auth(settings: Settings) -> str:
    key = settings.supabase_publishable_key
    assert key is not None
    return _get(f"{settings.supabase_url}/auth/v1/health", {"apikey": key.get_secret_value()})


def _mails(settings: Settings) -> str:
    if settings.smtp_url is None:
        off = "off: SMTP_URL is not set, so emails about failed payments, trials, and caps aren't sent"
        return f"WARNING, {off}" if settings.app_env == "production" else off
    assert settings.mail_from is not None
    url = settings.smtp_url.get_secret_value()
    try:
        SmtpMail(url, settings.mail_from).reach()
    except MailError as error:
        raise _TroubleError(f"the mail server can't be used: {error}") from error
    return f"ok, by {urlsplit(url).hostname}, from {settings.mail_from}"


def _payments(settings: Settings) -> str:
    if settings.payments_url:
        # `run` has already synced the Stripe fake, with the port it was given.
        return _get(f"{settings.payments_url}/health")
    try:
        steps = asyncio.run(sync(settings, dry_run=True))
    except (PaymentsError, PaymentsRefused) as error:
        raise _TroubleError(str(error)) from error
    behind = [step.what for step in steps if step.action != "kept"]
    missing = [what for what in behind if not what.startswith("subscription ")]
    if subscriptions := len(set(behind) - set(missing)):
        missing.append(count(subscriptions, "live subscription"))
    if missing:
        raise _TroubleError(
            f"{', '.join(missing)} don't match the plans; run `python -m aisaas stripe sync`"
        )
    off = [
        name
        for name, secrets in (
            ("STRIPE_WEBHOOK_SECRET", settings.webhook_secrets),
            ("STRIPE_METER_WEBHOOK_SECRET", settings.meter_webhook_secrets),
        )
        if not secrets
    ]
    if off:
        raise _TroubleError(f"{' and '.join(off)} not set, so webhooks are off")
    return "ok, prices, meter, and portal match the plans"


def _metering(settings: Settings) -> str:
    try:
        health, by_tokens = asyncio.run(_outbox_health(settings))
    except DependencyError as error:
        raise _TroubleError(str(error)) from error
    oldest = f", the oldest for {health.oldest_seconds:.0f} s" if health.oldest_seconds else ""
    said = f"{health.pending} waiting{oldest}; {health.parked} parked, {health.dead} refused"
    if by_tokens:
        said += (
            f"; {count(by_tokens, 'live subscription')} billed by tokens, as in an earlier "
            "release; run `python -m aisaas stripe sync`"
        )
    if health.late or health.dead or by_tokens:
        raise _TroubleError(said)
    return f"ok, {said}"


def _sums(settings: Settings) -> str:
    try:
        differences = asyncio.run(_differences(settings))
    except (DependencyError, Unavailable) as error:
        raise _TroubleError(str(error)) from error
    if differences:
        raise _TroubleError(
            f"differ from the ledger in the last {COMPARED_DAYS} days; to see where, run `python -m aisaas usage check`"
        )
    return f"ok, match the ledger for the last {COMPARED_DAYS} days"


async def _differences(settings: Settings) -> bool:
    services = build(settings)
    try:
        reports, reader = services.usage_reports, "operator:check"
        today = await reports.today(reader)
        span = Span(today - timedelta(days=COMPARED_DAYS - 1), today)
        async with aclosing(reports.compare(reader, span)) as differences:
            return await anext(differences, None) is not None
    finally:
        await services.close()


def _prices(settings: Settings) -> str:
    """An override is an admin's decision, so a difference isn't a problem."""
    try:
        found = asyncio.run(_price_differences(settings))
    except (DependencyError, Unavailable) as error:
        raise _TroubleError(str(error)) from error
    if not found:
        return "ok, no model's price differs from LiteLLM's map"
    return (
        f"WARNING, {', '.join(found)} differ from LiteLLM's map; to see how, run "
        "`python -m aisaas models prices`"
    )


async def _price_differences(settings: Settings) -> Sequence[str]:
    services = build(settings)
    try:
        return [each.model for each in await services.prices.differences("operator:check")]
    finally:
        await services.close()


async def _outbox_health(settings: Settings) -> tuple[MeteringHealth, int]:
    services = build(settings)
    try:
        assert services.metering is not None
        outbox = services.metering.outbox
        return await outbox.health(), await outbox.count_on_token_meter()
    finally:
        await services.close()


def _get(url: str, headers: dict[str, str] | None = None) -> str:
    # Settings have only let http and https addresses through.
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
            return "ok"
    except urllib.error.HTTPError as error:
        with error:
            raise _TroubleError(f"{url} answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _TroubleError(f"{url} does not answer: {error}") from error
