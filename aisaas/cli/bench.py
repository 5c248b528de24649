"""`bench`: measures what the product promises."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping

from aisaas.cli.environment import running
from aisaas.cli.instance import Running
from aisaas.cli.screen import complain, say

Figures = Mapping[str, object]


def configure(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="benchmark")
    stop = kinds.add_parser("stop", help="how quickly Stop cancels the call to the provider")
    stop.add_argument("--rounds", type=int, default=50)
    guard = kinds.add_parser("guard", help="how long admission takes")
    guard.add_argument("--rounds", type=int, default=2000, help="calls, one at a time (2000)")
    guard.add_argument(
        "--seconds", type=float, default=20, help="seconds at 300 calls per second (20)"
    )
    stream = kinds.add_parser(
        "stream", help="how many replies can stream at the same time without lag"
    )
    stream.add_argument("--seconds", type=int, default=10, help="length of each reply (10)")
    stream.add_argument("--workers", type=int, default=1, help="processes of the app (1)")
    stream.add_argument("--tab-states", choices=("redis", "memory"), default="redis")
    stream.add_argument(
        "--peers",
        nargs="*",
        choices=("sse", "chainlit"),
        default=["sse"],
        help="who else is measured in the same run (sse); chainlit is installed for it",
    )
    reconnect = kinds.add_parser(
        "reconnect", help="how soon a page shows more of a reply after a broken connection"
    )
    reconnect.add_argument("--rounds", type=int, default=20, help="breaks of each kind (20)")
    kinds.add_parser(
        "flow", help="how steadily a reply grows in Chromium, and how soon a key shows"
    )
    kinds.add_parser("ui", help="how soon pages are painted, usable, and changed in Chromium")
    usage = kinds.add_parser("usage", help="how quickly a usage page loads with a long ledger")
    usage.add_argument("--records", type=int, default=100_000, help="ledger rows (100,000)")
    metering = kinds.add_parser(
        "metering", help="how quickly usage reaches the meter, without loss"
    )
    metering.add_argument("--rows", type=int, default=5000, help="calls to report (5000)")
    webhooks = kinds.add_parser(
        "webhooks", help="how quickly webhooks are handled, each exactly once"
    )
    webhooks.add_argument(
        "--events", type=int, default=2000, help="events, not counting repeated ones (2000)"
    )
    dashboard = kinds.add_parser(
        "dashboard", help="how quickly the admin dashboard loads with a long ledger"
    )
    dashboard.add_argument("--rows", type=int, default=10_000_000, help="ledger rows (10,000,000)")
    strangers = kinds.add_parser(
        "strangers",
        help="what other visitors notice while one address holds unfinished connections",
    )
    strangers.add_argument(
        "--connections", type=int, default=2000, help="connections of each kind (2000)"
    )
    strangers.add_argument("--seconds", type=float, default=20, help="seconds for each kind (20)")
    overload = kinds.add_parser(
        "overload", help="what happens when twice as much is asked as a process can do"
    )
    overload.add_argument(
        "--seconds", type=float, default=10, help="seconds for each measurement (10)"
    )
    growth = kinds.add_parser(
        "growth", help="how quickly pages load and purges finish with years of data"
    )
    growth.add_argument("--users", type=int, default=50_000, help="accounts (50,000)")
    growth.add_argument("--lines", type=int, default=1_000_000, help="ledger rows (1,000,000)")
    growth.add_argument(
        "--messages", type=int, default=203_000, help="messages in 10,001 chats (203,000)"
    )
    growth.add_argument(
        "--deleted",
        type=int,
        default=1_200_000,
        help="messages in a deleted chat, and the same number in a deleted account (1,200,000)",
    )
    wire = kinds.add_parser("wire", help="bytes on the wire per byte of a streamed reply")
    wire.add_argument("--tokens", type=int, default=4000, help="length of the reply (4000)")
    wire.add_argument(
        "--speed", type=int, default=50, help="tokens per second (50); 0 for no limit"
    )
    for kind in kinds.choices.values():
        kind.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "`wire` needs the demo model of a running instance. The others start their own services; "
        "`overload`, `reconnect`, `stream`, `strangers`, and `webhooks` also need a built front end."
    )


def execute(arguments: argparse.Namespace) -> int:
    if arguments.kind == "wire":
        instance = running()
        if instance is None:
            complain("Nothing is running here to measure. Start it with `make run`.")
            return 1
        result = _wire(arguments, instance)
    else:
        result = ALONE[arguments.kind](arguments)
    if arguments.json:
        say(json.dumps(result))
    else:
        for name, value in result.items():
            say(f"{name:<24}{value}")
    return 0


# Imported only when needed, because they import the whole product.


def _wire(arguments: argparse.Namespace, instance: Running) -> Figures:
    from benchmarks.wire import measure  # noqa: PLC0415

    return measure(instance, arguments.tokens, arguments.speed)


def _stop(arguments: argparse.Namespace) -> Figures:
    from benchmarks.stop import measure  # noqa: PLC0415

    return measure(arguments.rounds)


def _guard(arguments: argparse.Namespace) -> Figures:
    from benchmarks.guard import measure  # noqa: PLC0415

    return measure(arguments.rounds, arguments.seconds)


def _stream(arguments: argparse.Namespace) -> Figures:
    from benchmarks.stream import measure  # noqa: PLC0415

    return measure(
        arguments.seconds, arguments.workers, arguments.tab_states, arguments.peers, complain
    )


def _flow(_: argparse.Namespace) -> Figures:
    from benchmarks.flow import measure  # noqa: PLC0415

    return measure()


def _ui(_: argparse.Namespace) -> Figures:
    from benchmarks.ui import measure  # noqa: PLC0415

    return measure()


def _reconnect(arguments: argparse.Namespace) -> Figures:
    from benchmarks.reconnect import measure  # noqa: PLC0415

    return measure(arguments.rounds)


def _usage(arguments: argparse.Namespace) -> Figures:
    from benchmarks.usage import measure  # noqa: PLC0415

    return measure(arguments.records)


def _dashboard(arguments: argparse.Namespace) -> Figures:
    from benchmarks.dashboard import measure  # noqa: PLC0415

    return measure(arguments.rows)


def _strangers(arguments: argparse.Namespace) -> Figures:
    from benchmarks.strangers import measure  # noqa: PLC0415

    return measure(arguments.connections, arguments.seconds)


def _overload(arguments: argparse.Namespace) -> Figures:
    from benchmarks.overload import measure  # noqa: PLC0415

    return measure(arguments.seconds)


def _metering(arguments: argparse.Namespace) -> Figures:
    from benchmarks.metering import measure  # noqa: PLC0415

    return measure(arguments.rows)


def _webhooks(arguments: argparse.Namespace) -> Figures:
    from benchmarks.webhooks import measure  # noqa: PLC0415

    return measure(arguments.events)


def _growth(arguments: argparse.Namespace) -> Figures:
    from benchmarks.grown import Sizes  # noqa: PLC0415
    from benchmarks.growth import measure  # noqa: PLC0415

    return measure(
        Sizes(
            users=arguments.users,
            lines=arguments.lines,
            messages=arguments.messages,
            deleted_messages=arguments.deleted,
        )
    )


ALONE: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "stop": _stop,
    "guard": _guard,
    "stream": _stream,
    "flow": _flow,
    "ui": _ui,
    "reconnect": _reconnect,
    "usage": _usage,
    "webhooks": _webhooks,
    "metering": _metering,
    "dashboard": _dashboard,
    "strangers": _strangers,
    "overload": _overload,
    "growth": _growth,
}
