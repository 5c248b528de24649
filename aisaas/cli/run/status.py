"""`status`: where the running instance and its parts are."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from aisaas.cli.environment import data_dir, running
from aisaas.cli.screen import complain, say


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print JSON, including passwords in addresses"
    )


def execute(arguments: argparse.Namespace) -> int:
    instance = running()
    if instance is None:
        complain(
            f"No instance is running with the data folder {data_dir()}. Start one with `make run`."
        )
        return 1
    facts = asdict(instance)
    del facts["env"]
    if arguments.json:
        say(json.dumps(facts, indent=2))
        return 0
    say(f"Running at {instance.url}")
    say(f"  data     {instance.data_dir}")
    if instance.mailbox_url:
        say(f"  mailbox  {instance.mailbox_url}")
    if instance.payments_url:
        say(f"  payments {instance.payments_url}")
    for name, pid in instance.pids.items():
        say(f"  {name:<12} pid {pid}")
    return 0
