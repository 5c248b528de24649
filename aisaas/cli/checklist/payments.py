"""Stripe: a key of the right mode, prices that match the plans, and webhooks that reach the app."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator, Sequence

from aisaas.adapters.stripe_catalogue import sync
from aisaas.adapters.stripe_endpoints import Endpoint, endpoints
from aisaas.api.stripe_webhook import METERS, SNAPSHOTS
from aisaas.billing.subscriptions.events import HANDLERS, METER_PROBLEM
from aisaas.cli.checklist.findings import Finding, fail, first, ok, skipped, warn
from aisaas.errors import PaymentsError, PaymentsRefused
from aisaas.settings import Settings

WEBHOOKS = "Stripe dashboard > Developers > Webhooks"
KEYS = "Stripe dashboard > Developers > API keys"
SKIPPED = ("prices", "webhook secrets", "webhook endpoint", "meter's webhook endpoint")


def look(config: Settings) -> Generator[Finding]:
    if config.stripe_secret_key is None:
        yield warn("Stripe", "STRIPE_SECRET_KEY is not set: no plans are for sale", f"{KEYS}")
        for item in SKIPPED:
            yield skipped(item, "no Stripe account", "set STRIPE_SECRET_KEY")
        return
    yield _mode(config)
    yield _prices(config)
    yield _secrets(config)
    yield from _endpoints(config)


def _mode(config: Settings) -> Finding:
    mode = "live" if config.stripe_is_live else "test"
    if config.stripe_api_base:
        return fail(
            "Stripe",
            f"STRIPE_API_BASE replaces Stripe with {config.stripe_api_base}: no money moves",
            "remove STRIPE_API_BASE, and set STRIPE_SECRET_KEY to a key of your account",
        )
    if config.stripe_is_live != (config.app_env == "production"):
        wanted = (
            "sk_live_ or rk_live_" if config.app_env == "production" else "sk_test_ or rk_test_"
        )
        return fail(
            "Stripe",
            f"a {mode} key, but APP_ENV is {config.app_env}",
            f"{KEYS}: use one that starts with {wanted}",
        )
    if not config.stripe_is_live and config.app_env != "preview":
        return fail("Stripe", "a test key: no money moves", f"{KEYS}: use a live key")
    return ok("Stripe", f"a {mode} key, which matches {config.app_env}")


def _prices(config: Settings) -> Finding:
    try:
        steps = asyncio.run(sync(config, dry_run=True))
    except (PaymentsError, PaymentsRefused) as error:
        return fail("prices", f"Stripe couldn't be read: {error}", f"check the key: {KEYS}")
    if missing := [step.what for step in steps if step.action != "kept"]:
        live = " --live" if config.stripe_is_live else ""
        return fail(
            "prices",
            f"don't match the plans: {first(missing)}",
            f"run `python -m aisaas stripe sync{live}`",
        )
    return ok("prices", "meter, prices, and portal match the plans")


def _secrets(config: Settings) -> Finding:
    off = [
        name
        for name, values in (
            ("STRIPE_WEBHOOK_SECRET", config.webhook_secrets),
            ("STRIPE_METER_WEBHOOK_SECRET", config.meter_webhook_secrets),
        )
        if not values
    ]
    if off:
        return fail(
            "webhook secrets",
            f"{' and '.join(off)} not set: those events are rejected",
            f"{WEBHOOKS}: copy the endpoint's signing secret",
        )
    # Stripe shows a secret only once, so only the first event proves that it is the right one.
    return ok("webhook secrets", "set; the first event will show whether they are correct")


def _endpoints(config: Settings) -> Generator[Finding]:
    try:
        found = asyncio.run(endpoints(config))
    except (PaymentsError, PaymentsRefused) as error:
        for item in SKIPPED[-2:]:
            yield fail(item, f"Stripe couldn't be read: {error}", f"check the key: {KEYS}")
        return
    yield _endpoint(
        "webhook endpoint",
        [each for each in found if not each.thin],
        f"{config.url}{SNAPSHOTS}",
        HANDLERS.keys(),
        "snapshot",
    )
    yield _endpoint(
        "meter's webhook endpoint",
        [each for each in found if each.thin],
        f"{config.url}{METERS}",
        {METER_PROBLEM},
        "thin",
    )


def _endpoint(
    item: str, found: Sequence[Endpoint], url: str, events: Collection[str], payload: str
) -> Finding:
    ours = [each for each in found if each.url == url]
    listed = ", ".join(sorted(events))
    if not ours:
        elsewhere = f"; there is one for {first([each.url for each in found])}" if found else ""
        return fail(
            item,
            f"no endpoint with {payload} payloads for {url}{elsewhere}",
            f"{WEBHOOKS}: add {url} with {payload} payloads and the events {listed}",
        )
    enabled = [each for each in ours if each.enabled]
    if not enabled:
        return fail(item, f"{url} is disabled", f"{WEBHOOKS}: enable it")
    sent = frozenset[str]().union(*(each.events for each in enabled))
    if "*" not in sent and (missing := sorted(set(events) - sent)):
        return fail(
            item,
            f"{url} doesn't receive {first(missing)}",
            f"{WEBHOOKS}: add {', '.join(missing)} to the endpoint",
        )
    if len(enabled) > 1:
        return warn(
            item,
            f"{len(enabled)} endpoints for {url}: every event arrives {len(enabled)} times",
            f"{WEBHOOKS}: remove all but one, unless you are rotating a secret",
        )
    return ok(item, f"{url}, with every event it needs")
