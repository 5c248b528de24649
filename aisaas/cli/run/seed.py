"""`seed --demo`: a month of sample users and usage, for demos and screenshots."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aisaas.billing.plans.terms import plans
from aisaas.chat.catalogue import BUNDLED
from aisaas.cli.environment import adopt, running
from aisaas.cli.operate.operator import agreed, operator
from aisaas.cli.parts import POSTGRES
from aisaas.cli.run import demo_store
from aisaas.cli.run.demo_month import DAYS, DOMAIN, Month, make_month
from aisaas.cli.screen import complain, say
from aisaas.language_models import Model, ModelFacts
from aisaas.prices import Price, weight_of
from aisaas.settings import Settings, load
from aisaas.wiring import build

USAGE = 2
MOST_PEOPLE = 500
# As in most installs.
SEEDED = ("openai", "anthropic", "gemini", "demo")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--demo", action="store_true", required=True, help="required; the only kind of sample data"
    )
    parser.add_argument("--people", type=int, default=48, help=f"up to {MOST_PEOPLE} (48)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (1)")
    parser.add_argument("--yes", action="store_true", help="don't ask for confirmation")
    parser.add_argument(
        "--yes-really", action="store_true", help="allow a database that isn't the embedded one"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        f"Creates {DAYS} days of accounts on all plans, with conversations, failed replies, refusals, and "
        "the ledger. The same seed and day create the same data. All email addresses end with "
        f"@{DOMAIN}, and all accounts have the same password, which is printed at the end. The ledger "
        "can't be emptied, so you can't remove this data. Not allowed in production."
    )


def execute(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.people <= MOST_PEOPLE:
        complain(f"--people must be from 1 to {MOST_PEOPLE}.")
        return USAGE
    adopt(running())
    config = load()
    if (problem := _problem(config, anywhere=arguments.yes_really)) is not None:
        complain(problem)
        return USAGE
    assert config.migration_database_url is not None
    url = config.migration_database_url.get_secret_value()
    if demo_store.is_seeded(url):
        complain("Sample data already exists. To create it again, start with an empty data folder.")
        return USAGE
    host = "the embedded database" if _is_embedded(config) else "a database that isn't embedded"
    question = f"Add {arguments.people} sample accounts and a month of usage to {host}? This can't be undone."
    if not agreed(question, yes=arguments.yes):
        return 1
    return _seed(config, url, arguments)


def _is_embedded(config: Settings) -> bool:
    return POSTGRES in config.embedded_parts


def _problem(config: Settings, *, anywhere: bool) -> str | None:
    if config.app_env == "production":
        return "Sample data isn't allowed in production, where the ledger is used for billing."
    if config.migration_database_url is None:
        return "Set MIGRATION_DATABASE_URL: only the schema's owner can add sample data."
    if not _is_embedded(config) and not anywhere:
        return (
            "This database isn't the embedded one, and sample data can't be removed from its ledger. "
            "If you want it there, add --yes-really."
        )
    return None


def _seed(config: Settings, url: str, arguments: argparse.Namespace) -> int:
    sold = dict(plans(config))
    month = make_month(
        arguments.seed,
        arguments.people,
        datetime.now(UTC).replace(minute=0, second=0, microsecond=0),
        models=asyncio.run(_models(config)),
        plans=sold,
    )
    password = secrets.token_urlsafe(12)
    assert config.supabase_url is not None
    assert config.supabase_secret_key is not None
    key = config.supabase_secret_key.get_secret_value()
    with demo_store.accounts(config.supabase_url, key, month.people, password):
        demo_store.write(url, month, sold, actor=operator(), seed=arguments.seed)
    summary = _to_dict(month, arguments.seed) | {"password": password}
    if arguments.json:
        say(json.dumps(summary))
        return 0
    say(
        f"{summary['people']} people, {summary['conversations']} conversations, {summary['calls']} calls with "
        f"{summary['tokens']:,} tokens for ${summary['cost_usd']}, {summary['refusals']} refusals."
    )
    say(f"Sign in as {month.people[0].email} with the password {password}")
    return 0


async def _models(config: Settings) -> Sequence[Model]:
    """The current models of the bundled catalog that most people would use, whether or not their
    providers are set up here."""
    services = build(config)
    try:
        found: list[Model] = []
        for entry in json.loads(BUNDLED.read_text(encoding="utf-8")):
            if entry["provider"] not in SEEDED or entry.get("retired"):
                continue
            own = entry.get("price")
            price = _own_price(own) if own else services.model.price_of(entry["upstream"])
            if price is not None:
                found.append(_model(entry, price, services.model.facts_of(entry["upstream"])))
        # The demo model comes last: no one would use it for a month.
        return sorted(found, key=lambda model: model.provider == "demo")
    finally:
        await services.close()


def _own_price(entry: dict[str, str]) -> Price:
    into, out = Decimal(entry["input_usd"]), Decimal(entry["output_usd"])
    return Price(into, out, into, version=entry["version"])


def _model(entry: dict[str, Any], price: Price, known: ModelFacts) -> Model:
    return Model(
        id=entry["id"],
        label=entry["label"],
        provider=entry["provider"],
        upstream=entry["upstream"],
        fallback=entry["fallback"],
        context_window=entry.get("context_window") or known.context_window or 0,
        max_output=entry.get("max_output") or known.max_output or 0,
        weight=Decimal(entry["weight"]) if "weight" in entry else weight_of(price),
        plans=frozenset(entry["plans"]),
        price=price,
    )


def _to_dict(month: Month, seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "people": len(month.people),
        "conversations": len(month.chats),
        "messages": 2 * len(month.turns),
        "calls": len(month.calls),
        "refusals": sum(month.refusals.values()),
        "provider_errors": sum(month.errors.values()),
        "tokens": sum(call.prompt + call.completion for call in month.calls),
        "cost_usd": str(sum((call.cost_usd for call in month.calls), Decimal(0))),
    }
