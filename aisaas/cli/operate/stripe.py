"""`stripe sync` brings the Stripe account of the current key in step with the plans; `stripe verify` goes
through what bills money in test mode, and compares the invoices with the ledger's rules."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence

from aisaas.adapters.stripe_catalogue import Step, sync
from aisaas.adapters.stripe_verification import Outcome, verify
from aisaas.cli.environment import adopt, running
from aisaas.cli.screen import complain, say
from aisaas.errors import PaymentsError, PaymentsRefused
from aisaas.settings import STRIPE_LIVE_KEYS, Settings, load

USAGE = 2
TERMINATED = 143


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("sync", "verify"))
    parser.add_argument("--dry-run", action="store_true", help="sync: show what would be done")
    parser.add_argument(
        "--live", action="store_true", help="sync: allow a live account to be changed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "sync creates or changes what differs from the settings: the meter, the price for extra usage, a "
        "product with a base price for each paid plan, the portal's configuration, and how live "
        "subscriptions are metered. Safe to repeat. Existing subscribers keep their base price. "
        "verify needs a test key: it takes customers on test clocks through a subscription's life, prints "
        "what each invoice has to say and what Stripe's says, and exits with 1 if they differ. It deletes "
        "what it has made."
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
    if arguments.action == "verify":
        if live:
            complain("This is a live key. Use a test key: test clocks only exist in test mode.")
            return USAGE
        return _verify(settings, as_json=arguments.json)
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


def _verify(settings: Settings, *, as_json: bool) -> int:
    try:
        outcomes = asyncio.run(_interruptible(settings, quiet=as_json))
    except asyncio.CancelledError:
        complain("Stopped. What was made at Stripe is deleted.")
        return TERMINATED
    except (PaymentsError, PaymentsRefused) as error:
        complain(f"Stripe failed: {error}.")
        return 1
    equal = all(outcome.equal for outcome in outcomes)
    if as_json:
        say(json.dumps({"equal": equal, "sequences": [_to_dict(each) for each in outcomes]}))
    else:
        _show_outcomes(outcomes)
        say("Stripe bills what the ledger says." if equal else "Stripe and the ledger differ.")
    return 0 if equal else 1


async def _interruptible(settings: Settings, *, quiet: bool) -> Sequence[Outcome]:
    """SIGTERM, like Ctrl-C, ends it after the objects made at Stripe are deleted."""
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    return await verify(settings, progress=(lambda _: None) if quiet else complain)


def _show_outcomes(outcomes: Sequence[Outcome]) -> None:
    say(f"{'':<44}{'ledger':>14} {'Stripe':>14}")
    for outcome in outcomes:
        say(outcome.sequence)
        for row in outcome.rows:
            mark = "" if row.equal else "  differs"
            say(f"  {row.what:<42}{row.ours:>14} {row.stripe:>14}{mark}")
        if outcome.error:
            say(f"  not finished: {outcome.error}")


def _to_dict(outcome: Outcome) -> dict[str, object]:
    rows = [
        {"what": row.what, "ours": row.ours, "stripe": row.stripe, "equal": row.equal}
        for row in outcome.rows
    ]
    return {
        "sequence": outcome.sequence,
        "equal": outcome.equal,
        "rows": rows,
        "error": outcome.error,
    }


def _show(steps: Sequence[Step], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        shown = [{"what": s.what, "action": s.action, "detail": s.detail} for s in steps]
        say(json.dumps({"dry_run": dry_run, "steps": shown}))
        return
    for step in steps:
        would = "would be " if dry_run and step.action != "kept" else ""
        detail = f": {step.detail}" if step.detail else ""
        say(f"{step.what:<24} {would}{step.action}{detail}")
