"""`models`: availability, plans, weight, and price of the models, changed without a restart."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from aisaas.adapters.provider_models import discover
from aisaas.admin.prices import price_lines
from aisaas.cli.environment import adopt, configured, running
from aisaas.cli.operate.operator import DONE, FAILED, USAGE, acted, operator
from aisaas.cli.parts import plan
from aisaas.cli.screen import complain, say
from aisaas.controls.model_overrides import KEEP, Keep, Margin, ModelChange, OfferDetails, OwnPrice
from aisaas.controls.ports import Discovery
from aisaas.prices import weight_of
from aisaas.settings import load
from aisaas.wiring import Services

CATALOGUE = "catalogue"
AGAIN = f"{CATALOGUE} restores the default"
EPILOG = (
    "A change applies to the next call, in every process. Running calls settle at the weight and price "
    "they started with. Margins assume three prompt tokens for each token of the reply."
)

DISCOVERY = (
    "Asks each provider for its list, for 10 seconds at most. Prices are those of LiteLLM's map. Azure lists "
    "models; calls go to your deployments. Exits with 1 if a provider can't be asked."
)


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    shown = actions.add_parser("list", help="list models, prices, and the margin on each plan")
    change = actions.add_parser("set", help="change a model", epilog=EPILOG)
    change.add_argument("model")
    turned = change.add_mutually_exclusive_group()
    turned.add_argument("--on", dest="enabled", action="store_true", default=KEEP)
    turned.add_argument("--off", dest="enabled", action="store_false", default=KEEP)
    change.add_argument("--plans", type=_plans, default=KEEP, help=f"like free,pro; {AGAIN}")
    change.add_argument(
        "--weight", type=_number, default=KEEP, help=f"quota tokens per model token; {AGAIN}"
    )
    change.add_argument(
        "--price",
        type=_price,
        default=KEEP,
        metavar="IN/OUT[/CACHED]",
        help=f"USD per 1M model tokens, like 0.15/0.60/0.075; {AGAIN}",
    )
    change.add_argument("--reason", required=True, help="saved in the audit log")
    found = actions.add_parser(
        "discover", help="list the models that the configured keys can reach", epilog=DISCOVERY
    )
    found.add_argument("--provider", help="only this one, by its id")
    prices = actions.add_parser(
        "prices",
        help="list each price with its date, and where it differs from LiteLLM's map",
    )
    for action in (shown, change, found, prices):
        action.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.action == "discover":
        return asyncio.run(_discover(arguments.provider, as_json=arguments.json))
    return acted(lambda services: _act(services, arguments), as_json=arguments.json)


async def _act(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.action == "set":
        await _set(services, arguments)
    elif arguments.action == "prices":
        await _prices(services, as_json=arguments.json)
    else:
        _list(await services.offers.all(), as_json=arguments.json)
    return DONE


async def _discover(only: str | None, *, as_json: bool) -> int:
    """Needs settings only: neither a database nor a running instance."""
    instance = running()
    adopt(instance)
    settings = load() if instance else plan(configured()).settings
    asked = [
        provider
        for provider in settings.provider_access().values()
        # Embedded and not running, the demo model has no address yet.
        if provider.id == (only or provider.id) and (instance or provider.id != "demo")
    ]
    if only is not None and not asked:
        complain(f"No provider is called {only!r}. Configured: {', '.join(settings.providers())}.")
        return USAGE
    found = await discover(asked)
    if not found and not as_json:
        say("No provider is configured; docs/providers.md says how.")
    if as_json:
        say(json.dumps([_found(each) for each in found]))
    else:
        for each in found:
            _show(each)
    return FAILED if any(each.problem for each in found) else DONE


def _show(found: Discovery) -> None:
    if found.problem is not None:
        complain(f"{found.label} ({found.provider}) {found.problem}.")
        return
    say(f"{found.label} ({found.provider}): {len(found.models)} models")
    for model in found.models:
        priced = "no price known"
        if model.price is not None:
            price = model.price
            priced = f"${_plain(price.input_usd)} in, ${_plain(price.output_usd)} out per 1M tokens"
        window = f", window {model.context_window:,}" if model.context_window else ""
        can = f", {', '.join(sorted(model.abilities))}" if model.abilities else ""
        say(f"    {model.upstream}  {priced}{window}{can}")


def _found(found: Discovery) -> dict[str, object]:
    return {
        "provider": found.provider,
        "problem": found.problem,
        "models": [
            {
                "upstream": model.upstream,
                "price": None
                if model.price is None
                else {
                    "input_usd": _plain(model.price.input_usd),
                    "output_usd": _plain(model.price.output_usd),
                    "cached_input_usd": _plain(model.price.cached_input_usd),
                    "version": model.price.version,
                },
                "weight": None if model.price is None else _plain(weight_of(model.price)),
                "context_window": model.context_window,
                "max_output": model.max_output,
                "abilities": sorted(model.abilities),
            }
            for model in found.models
        ],
    }


async def _set(services: Services, arguments: argparse.Namespace) -> None:
    wanted = ModelChange(arguments.enabled, arguments.plans, arguments.weight, arguments.price)
    changed = await services.offers.change(
        arguments.model,
        wanted,
        actor=operator(),
        reason=arguments.reason,
    )
    shown = next(
        each for each in await services.offers.all() if each.offer.listed.id == arguments.model
    )
    if arguments.json:
        say(json.dumps(_to_dict(shown) | {"changed": changed}))
    else:
        say(f"{_line(shown)}{'' if changed else ' (unchanged)'}")


async def _prices(services: Services, *, as_json: bool) -> None:
    versions = await services.prices.versions(operator())
    differences = await services.prices.differences(operator())
    if as_json:
        rows = [
            {
                "model": each.model,
                "since": each.since.isoformat(),
                "digest": each.price.digest,
                "price": each.price.to_dict(),
            }
            for each in versions
        ]
        differing = [
            {
                "model": each.model,
                "sold": each.sold.to_dict(),
                "in_map": each.in_map.to_dict(),
                "since": each.since.isoformat() if each.since else None,
            }
            for each in differences
        ]
        say(json.dumps({"versions": rows, "differences": differing}))
        return
    for each in versions:
        say(f"{each.model}  {each.price.version}  since {each.since:%Y-%m-%d %H:%M} UTC")
        for line in price_lines(each.price):
            say(f"    {line}")
    for each in differences:
        say(
            f"{each.model} differs from LiteLLM's map: sold at {price_lines(each.sold)[0]} "
            f"({each.sold.version}), the map says {price_lines(each.in_map)[0]} "
            f"({each.in_map.version})"
        )


def _list(found: Sequence[OfferDetails], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps([_to_dict(shown) for shown in found]))
        return
    for shown in found:
        say(_line(shown))
        if shown.offer.price is not None:
            for line in price_lines(shown.offer.price)[1:]:
                say(f"    {line}")
        for margin in shown.margins:
            say(f"    {_margin(margin)}")


def _line(shown: OfferDetails) -> str:
    offer = shown.offer
    price = offer.price
    priced = "no price"
    if price is not None:
        cost = f"${_plain(price.input_usd)} in, ${_plain(price.output_usd)} out per 1M tokens"
        priced = f"{cost} ({price.version})"
    plans = ", ".join(sorted(offer.plans))
    state = "on" if offer.on else "off"
    if offer.retired:
        state = f"retired, successor {offer.successor}" if offer.successor else "retired"
    return f"{offer.listed.id}  {state}  on {plans}  weight {_plain(offer.weight)}  {priced}"


def _margin(margin: Margin) -> str:
    if margin.overage is None:
        return f"{margin.plan}: costs up to ${margin.whole_usd:,.4f} per user and month"
    included = "" if margin.included is None else f"{margin.included:.0%} on the included tokens, "
    return f"{margin.plan}: margin {included}{margin.overage:.0%} on overage"


def _to_dict(shown: OfferDetails) -> dict[str, object]:
    offer, price = shown.offer, shown.offer.price
    return {
        "model": offer.listed.id,
        "on": offer.on,
        "added": offer.listed.added,
        "retired": offer.retired,
        "successor": offer.successor if offer.retired else None,
        "plans": sorted(offer.plans),
        "weight": _plain(offer.weight),
        "price": None
        if price is None
        else {
            "input_usd": _plain(price.input_usd),
            "output_usd": _plain(price.output_usd),
            "cached_input_usd": _plain(price.cached_input_usd),
            "cache_write_usd": _plain(price.base.cache_write_usd),
            "cache_write_1h_usd": _plain(price.base.cache_write_1h_usd),
            "thinking_usd": _plain(price.base.thinking_usd),
            "tiers": price.to_dict()["tiers"],
            "version": price.version,
        },
        "margins": [
            {
                "plan": margin.plan,
                "cost_usd": _plain(margin.cost_usd),
                "included": _share(margin.included),
                "overage": _share(margin.overage),
                "whole_usd": f"{margin.whole_usd:.6f}",
            }
            for margin in shown.margins
        ],
        "changed_by": shown.changed_by,
        "changed_at": shown.changed_at.isoformat() if shown.changed_at else None,
    }


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _share(share: Decimal | None) -> float | None:
    return None if share is None else round(float(share), 4)


def _plans(text: str) -> frozenset[str] | None:
    if text == CATALOGUE:
        return None
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _number(text: str) -> Decimal | None:
    return None if text == CATALOGUE else _decimal(text)


def _price(text: str) -> OwnPrice | Keep | None:
    if text == CATALOGUE:
        return None
    match [_decimal(part) for part in text.split("/")]:
        case [into, out]:
            return OwnPrice(into, out, into)
        case [into, out, cached]:
            return OwnPrice(into, out, cached)
        case _:
            raise argparse.ArgumentTypeError(
                f"{text!r} isn't a price. Use a format like 0.15/0.60."
            )


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number.") from None
