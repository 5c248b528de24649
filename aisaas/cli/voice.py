"""How a service command writes its output: for people, or as machine-readable lines if
requested."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aisaas import logs
from aisaas.cli.environment import configured
from aisaas.cli.screen import complain, say
from aisaas.errors import AisaasError, ConfigurationError
from childprocess.errors import StartError

# Commands that run without a user at a terminal. `serve` writes for machines by default.
SERVICES = ("serve", "worker", "migrate")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Voice:
    """`warn` is for what an operator should know."""

    say: Say
    warn: Say


def log_form(command: str) -> logs.LogFormat:
    """The requested format, known before any other setting; text for commands that aren't
    services."""
    asked, development = configured().get("LOG_FORMAT"), "APP_ENV" not in configured()
    development = development or configured()["APP_ENV"] == "development"
    if command not in SERVICES:
        return "text"
    if asked in {"text", "json"}:
        return "json" if asked == "json" else "text"
    return "json" if command == "serve" or not development else "text"


def voice(command: str, *, level: str = "INFO", secrets: Iterable[str] = ()) -> Voice:
    """For a command; from now on lines of libraries have the same form."""
    if log_form(command) != "json":
        return Voice(say, complain)
    logs.configure(level, secrets, form="json")
    log = logging.getLogger(f"aisaas.cli.{command}")
    return Voice(log.info, log.error)


def failed(command: str, error: Exception) -> None:
    """Say for machines that a command has failed: a line, with the stack where it is a surprise."""
    warn = voice(command).warn
    if isinstance(error, ConfigurationError):
        warn(f"The settings are not fit to start with: {'; '.join(error.problems)}")
    elif isinstance(error, StartError | AisaasError):
        warn(str(error))
    else:
        logging.getLogger(f"aisaas.cli.{command}").critical(
            "something unexpected went wrong", exc_info=error
        )
