"""`/metrics`, for Prometheus: to this machine, or with METRICS_TOKEN as a bearer.

This machine means a loopback connection that can't have come through a proxy: the settings name none
(TRUSTED_PROXIES, or an address that isn't this machine's own), and nothing in the request points to
one. Its Host must name this machine too, or a foreign page whose domain was made to resolve here
could read the metrics. A header alone never grants access. All other clients need the token.

Outages: without the database or Redis the process's own metrics still work, and
`aisaas_shared_figures_up` says which of the others are missing.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aisaas.api.serving import services_of
from aisaas.controls.spending_caps import CapToday
from aisaas.errors import AisaasError
from aisaas.observe.jobs import EXPECTED_SECONDS
from aisaas.observe.metrics import CONTENT_TYPE, Reading, of_all, of_this_process
from aisaas.settings import Settings
from aisaas.wiring import Services

# However often a client asks, the database is queried at most this often.
FRESH_SECONDS = 5.0
FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


async def metrics(request: Request) -> Response:
    these = services_of(request)
    if not may_read(request, these.settings):
        return PlainTextResponse(
            "This needs METRICS_TOKEN as a bearer token.\n",
            401,
            headers={"WWW-Authenticate": "Bearer"},
        )
    return Response(
        of_this_process() + of_all(await _SHARED.readings(these)),
        media_type=CONTENT_TYPE,
    )


def may_read(request: Request, config: Settings) -> bool:
    if config.metrics_token is not None:
        expected = f"Bearer {config.metrics_token.get_secret_value()}".encode()
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if hmac.compare_digest(given, expected):
            return True
    return _from_this_machine(request, config)


def _from_this_machine(request: Request, config: Settings) -> bool:
    behind_a_proxy = config.trusted_proxies > 0 or not _is_loopback(
        urlsplit(config.url).hostname or ""
    )
    if behind_a_proxy or any(name in request.headers for name in FORWARDING):
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return _is_loopback(host) and request.client is not None and _is_loopback(request.client.host)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


class _Shared:
    """The readings that are the same for every process, kept for a moment."""

    def __init__(self) -> None:
        self._found: tuple[Services, float, Sequence[Reading]] | None = None
        self._turn = asyncio.Lock()

    async def readings(self, these: Services) -> Sequence[Reading]:
        async with self._turn:
            known = self._found
            if (
                known is not None
                and known[0] is these
                and time.monotonic() - known[1] < FRESH_SECONDS
            ):
                return known[2]
            found = [*await _from_database(these), *await _from_redis(these)]
            self._found = (these, time.monotonic(), found)
            return found


_SHARED = _Shared()


def _up(source: str, *, yes: bool) -> Reading:
    about = "1 if the shared figures of the database or Redis could be read."
    return Reading("aisaas_shared_figures_up", about, float(yes), {"source": source})


async def _from_database(these: Services) -> list[Reading]:
    try:
        counts, caps = await these.figures.read(), await these.caps.of_operator()
    except AisaasError:
        return [_up("database", yes=False)]
    rows = "Usage rows waiting for the meter, by state."
    spend = "Today's USD (UTC) by scope: spent, and reserved by running calls."
    found = [
        _up("database", yes=True),
        Reading(
            "aisaas_running_replies",
            "Replies in progress, over all processes.",
            counts.running_replies,
        ),
        Reading(
            "aisaas_abandoned_calls",
            "Calls whose process is gone and that aren't settled yet.",
            counts.abandoned_calls,
        ),
        Reading("aisaas_outbox_rows", rows, counts.outbox_pending, {"state": "pending"}),
        Reading("aisaas_outbox_rows", rows, counts.outbox_parked, {"state": "parked"}),
        Reading("aisaas_outbox_rows", rows, counts.outbox_dead, {"state": "dead"}),
        Reading(
            "aisaas_outbox_lag_seconds",
            "Age of the oldest usage row waiting for the meter.",
            counts.outbox_lag_seconds,
        ),
        Reading(
            "aisaas_webhook_failures_open",
            "Webhook events that failed and haven't succeeded since.",
            counts.webhook_failures_open,
        ),
        Reading("aisaas_mails_pending", "Billing emails waiting to be sent.", counts.mails_pending),
        Reading(
            "aisaas_mails_lag_seconds",
            "How long the oldest billing email is overdue.",
            counts.mails_lag_seconds,
        ),
        Reading(
            "aisaas_meter_drift_tokens",
            "Tokens by which the meter and the ledger differ, summed over customers and days.",
            counts.meter_drift_tokens,
        ),
        Reading(
            "aisaas_job_items_set_aside",
            "Items that jobs have given up on, until an admin retries them.",
            counts.job_items_set_aside,
        ),
        Reading(
            "aisaas_kill_switches_engaged",
            "Engaged kill switches.",
            counts.switches_engaged,
        ),
    ]
    for cap in caps:
        scope = {"scope": cap.scope}
        spent = {**scope, "kind": "spent"}
        held = {**scope, "kind": "reserved"}
        found += [
            Reading("aisaas_spend_usd", spend, float(cap.spent_usd), spent),
            Reading("aisaas_spend_usd", spend, float(cap.reserved_usd), held),
            Reading("aisaas_spend_cap_usd", "The day's cap.", float(cap.usd), scope),
            Reading(
                "aisaas_spend_cap_used_ratio",
                "Share of the day's cap that is spent or reserved. At 1, calls are refused.",
                _share(cap),
                scope,
            ),
        ]
    return found


def _share(cap: CapToday) -> float:
    """A cap of zero counts as used up."""
    used = cap.spent_usd + cap.reserved_usd
    return float(used / cap.usd) if cap.usd else 1.0


async def _from_redis(these: Services) -> list[Reading]:
    try:
        last = await these.job_times.read()
    except AisaasError:
        return [_up("redis", yes=False)]
    # An older version may have left jobs that no longer exist.
    known = {job: at for job, at in last.items() if job in EXPECTED_SECONDS}
    return [
        _up("redis", yes=True),
        *(
            Reading(
                "aisaas_job_last_success_timestamp_seconds",
                "When a job last succeeded, in any process.",
                at,
                {"task": job},
            )
            for job, at in known.items()
        ),
        *(
            Reading(
                "aisaas_job_expected_seconds",
                "A job that has not succeeded for so long is stuck.",
                EXPECTED_SECONDS[job],
                {"task": job},
            )
            for job in known
        ),
    ]


def routes() -> list[Route]:
    return [Route("/metrics", metrics)]
