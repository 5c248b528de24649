"""`stripe sync`: brings the Stripe account of the current key in step with the plans."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence

from aisaas.adapters.stripe_catalogue import Step, sync
from aisaas.cli.environment import adopt, running
from aisaas.cli.screen import complain, say
from aisaas.errors import PaymentsError, PaymentsRefused
from aisaas.settings import STRIPE_LIVE_KEYS, load

USAGE = 2


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("sync",))
    parser.add_argument("--dry-run", action="store_true", help="show what would be done")
    parser.add_argument("--live", action="store_true", help="allow a live account to be changed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "Creates or changes what differs from the settings: the meter, the price for extra usage, a "
        "product with a base price for each paid plan, the portal's configuration, and how live "
        "subscriptions are metered. Safe to repeat. Existing subscribers keep their base price."
    )


def execute(arguments: argparse.Namespace) -> int:
    instance = running()
    if instance is not None:
        adopt(instance)
    settings = load()
    if settings.stripe_secret_key is None:
        complain("Set STRIPE_SECRET_KEY, or start an instance that has one.")
        return USAGE
    live = settings.stripe_secret_key.get_secret_value().startswith(STRIPE_LIVE_KEYS)
    if live and not arguments.live and not arguments.dry_run:
        complain("This is a live account. Check with --dry-run first, then add --live.")
        return USAGE
    try:
        steps = asyncio.run(sync(settings, dry_run=arguments.dry_run))
    except (PaymentsError, PaymentsRefused) as error:
        complain(f"Stripe failed: {error}. Completed steps are kept. Run this again.")
        return 1
    _show(steps, as_json=arguments.json, dry_run=arguments.dry_run)
    return 0


def _show(steps: Sequence[Step], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        shown = [{"what": s.what, "action": s.action, "detail": s.detail} for s in steps]
        say(json.dumps({"dry_run": dry_run, "steps": shown}))
        return
    for step in steps:
        would = "would be " if dry_run and step.action != "kept" else ""
        detail = f": {step.detail}" if step.detail else ""
        say(f"{step.what:<24} {would}{step.action}{detail}")
