"""What the commands that act on accounts have in common: under whose name, and with which questions."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aisaas.cli.environment import adopt, running
from aisaas.cli.screen import complain, say
from aisaas.errors import Refusal, Unavailable
from aisaas.settings import load
from aisaas.wiring import Services, build

DONE, FAILED, USAGE = 0, 1, 2


def operator() -> str:
    """The name in the audit log of the person who runs the command."""
    return f"operator:{getpass.getuser()}"


def added(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    """One more action of a command."""
    return actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def agreed(question: str, *, yes: bool) -> bool:
    """Ask for confirmation at a terminal. Scripts aren't asked: they were written on purpose."""
    if yes or not sys.stdin.isatty():
        return True
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    complain("Nothing was done.")
    return False


def acted(act: Callable[[Services], Awaitable[int]], *, as_json: bool) -> int:
    """Run `act` with the services of the running instance, or of the settings; returns its exit
    code, or that of a refusal, which is printed."""
    adopt(running())
    try:
        return asyncio.run(_with_services(act))
    except Refusal as refusal:
        return _refused(refusal, as_json=as_json)


async def _with_services(act: Callable[[Services], Awaitable[int]]) -> int:
    services = build(load())
    try:
        return await act(services)
    finally:
        await services.close()


def _refused(refusal: Refusal, *, as_json: bool) -> int:
    """Tell it, and the exit code that goes with it."""
    if as_json:
        say(json.dumps({"code": refusal.code, "message": refusal.sentence}))
    else:
        complain(refusal.sentence)
    return FAILED if isinstance(refusal, Unavailable) else USAGE
