"""`bench`: measures the figures that the product promises."""

from __future__ import annotations

import argparse
import json

from aisaas.cli.environment import running
from aisaas.cli.screen import complain, say


def configure(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="what")
    stop = kinds.add_parser("stop", help="how soon Stop aborts the provider's call")
    stop.add_argument("--rounds", type=int, default=50)
    wire = kinds.add_parser("wire", help="bytes on the wire for each byte of a streamed reply")
    wire.add_argument("--tokens", type=int, default=4000, help="length of the reply (4000)")
    wire.add_argument("--speed", type=int, default=50, help="tokens a second (50); 0: unpaced")
    guard = kinds.add_parser("guard", help="how long a call stands at the door")
    guard.add_argument("--rounds", type=int, default=2000, help="calls one by one (2000)")
    guard.add_argument("--seconds", type=float, default=20, help="at 300 calls a second (20)")
    for kind in (stop, wire, guard):
        kind.add_argument("--json", action="store_true", help="for a script")
    parser.epilog = "`stop` and `guard` start parts of their own; `wire` needs the running instance's demo model."


def execute(arguments: argparse.Namespace) -> int:
    if arguments.kind == "stop":
        from aisaas.bench.stop import measure as measure_stop  # noqa: PLC0415

        result = measure_stop(arguments.rounds)
    elif arguments.kind == "guard":
        from aisaas.bench.guard import measure as measure_guard  # noqa: PLC0415

        result = measure_guard(arguments.rounds, arguments.seconds)
    else:
        from aisaas.bench.wire import measure as measure_wire  # noqa: PLC0415

        instance = running()
        if instance is None:
            complain("Nothing is running here to measure. Start it with `make run`.")
            return 1
        result = measure_wire(instance, arguments.tokens, arguments.speed)
    if arguments.json:
        say(json.dumps(result))
    else:
        for name, value in result.items():
            say(f"{name:<16}{value}")
    return 0
