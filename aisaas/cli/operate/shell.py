"""`shell`: a Python prompt with the product's services, for looking into a running instance."""

from __future__ import annotations

import argparse
import ast
import asyncio
import code
import inspect
import sys
from types import CodeType
from typing import Any

from aisaas.cli.environment import adopt, running
from aisaas.cli.operate.operator import DONE, operator
from aisaas.settings import load
from aisaas.wiring import build

BANNER = """\
Python {python} with the services of {where}.
  services   everything the pages, routes, and jobs call, such as services.usage_reports
  settings   the settings they were built from
  operator   the name under which admin actions are recorded: {operator}
Use await directly: `await services.users.named(operator, "ada@example.com")`. Ctrl-D leaves."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Acts on the running instance, or, if none is running, on what the settings name. What you call "
        "has the same effects as in the product: credits are granted and replies are paid for."
    )


def execute(_: argparse.Namespace) -> int:
    instance = running()
    adopt(instance)
    settings = load()
    with asyncio.Runner() as runner:
        services = build(settings)
        names = {"services": services, "settings": settings, "operator": operator()}
        banner = BANNER.format(
            python=sys.version.split()[0],
            where=instance.url if instance else "the settings (no instance is running here)",
            operator=operator(),
        )
        _edit_lines(names)
        try:
            AwaitingConsole(names, runner).interact(banner, exitmsg="")
        finally:
            runner.run(services.close())
    return DONE


def _edit_lines(names: dict[str, Any]) -> None:
    """Arrow keys, the lines typed before, and completion by Tab, where Python has them."""
    try:
        import readline  # noqa: PLC0415  # not on every build of Python
        import rlcompleter  # noqa: PLC0415
    except ImportError:
        return
    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab: complete")


class AwaitingConsole(code.InteractiveConsole):
    """Python's own prompt, in which `await` works; the event loop runs only while something is awaited."""

    def __init__(self, names: dict[str, Any], runner: asyncio.Runner) -> None:
        super().__init__(names)
        self._names = names
        self._runner = runner
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def runcode(self, code: CodeType) -> None:
        if not code.co_flags & inspect.CO_COROUTINE:
            super().runcode(code)
            return
        try:
            self._runner.run(eval(code, self._names))  # noqa: S307  # what was typed at the prompt
        except SystemExit:
            raise
        except BaseException:  # noqa: BLE001  # shown, as Python's own prompt does
            self.showtraceback()
