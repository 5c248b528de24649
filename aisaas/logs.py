"""Logging: one line per event, full stack traces, and no secrets or user text.

Secrets' values are replaced wherever they turn up. Postgres' DETAIL and CONTEXT lines quote rows,
and so users' text; pydantic's errors quote their input; both are left out. DEBUG is for our own
lines only: at that level libraries print prompts and headers.

A line's text may come from outside, so it can't start another line or control the terminal: control
characters are escaped, and a stack trace is indented. Libraries that strangers can trigger repeat a
message only a limited number of times a minute.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from aisaas.observe import context

LogFormat = Literal["text", "json"]
OURS = "aisaas"
REDACTED = "[redacted]"
# Shorter values would blank out ordinary words.
MIN_REDACTED_LENGTH = 8
_ROW_LINES = re.compile(r"^\s*(DETAIL|CONTEXT|QUERY|STATEMENT|LINE \d+):.*$", re.MULTILINE)
_QUOTED_INPUT = re.compile(r"input_value=.*?, input_type=", re.DOTALL)
_TOKEN_LIKE = re.compile(
    r"(eyJ[\w-]+\.[\w-]+\.[\w-]+|\b(?:sk|rk|whsec|sb_secret)[-_][\w-]{8,}|(?<=[?&]token=)[\w-]+"
    r"|(?<=Bearer )[\w.~+/=-]{8,})"
)
# Characters that end a line, move a cursor, or reverse text in some terminal, and halves of surrogate pairs.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# Repeated lines of a library that strangers can make log.
LINES_PER_WINDOW = 10
WINDOW_SECONDS = 60.0
# The server, the framework and its libraries: their messages about a connection may contain any
# client's text.
STRANGERS_SPEAK = (
    "_granian",
    "reflex",
    "reflex_base",
    "engineio",
    "socketio",
    "asyncio",
    "python_multipart",
)
# JSON already escapes these.
_JSON_ESCAPES = "\n\t"


def escaped(text: str, *, keep: str = "") -> str:
    """`text` with its control characters as escapes, but for those in `keep`."""
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class OnlySoOften(logging.Filter):
    """Lets the same place in a library write so many lines a minute; then how many more there were."""

    def __init__(self) -> None:
        super().__init__()
        self._since = 0.0
        self._written: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(STRANGERS_SPEAK):
            return True
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._since, self._written = now, {}
        place = (record.pathname, record.lineno)
        count = self._written[place] = self._written.get(place, 0) + 1
        if count == LINES_PER_WINDOW:
            record.msg = f"{record.getMessage()} (more like this are left out for a minute)"
            record.args = None
        return count <= LINES_PER_WINDOW


class SafeFormatter(logging.Formatter):
    """Formats like its parent, then takes out what must not be read."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        values = sorted({s for s in secrets if len(s) >= MIN_REDACTED_LENGTH}, key=len)
        # The longest first, so that a secret inside another is no leftover.
        self._secrets = tuple(reversed(values))

    def format(self, record: logging.LogRecord) -> str:
        return self.safe(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its parent's name
        # First what stands on lines of its own, while they are lines.
        return escaped(self.safe(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indented(super().formatStack(stack_info))

    def safe(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = _QUOTED_INPUT.sub(f"input_value={REDACTED}, input_type=", text)
        return _ROW_LINES.sub("", _TOKEN_LIKE.sub(REDACTED, text))


def _indented(trace: str) -> str:
    return "\n".join(f"    {escaped(line)}" for line in trace.split("\n"))


class JsonFormatter(SafeFormatter):
    """One JSON object per line, with its context; times are UTC."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return escaped(logging.Formatter.formatException(self, ei), keep=_JSON_ESCAPES)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return escaped(stack_info, keep=_JSON_ESCAPES)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": escaped(self.safe(record.getMessage()), keep=_JSON_ESCAPES),
            **context.current(),
            "pid": record.process,
        }
        if record.exc_info:
            line["exception"] = self.safe(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self.safe(self.formatStack(record.stack_info))
        return json.dumps(line, ensure_ascii=False)


def configure(
    level: str,
    secrets: Iterable[str],
    *,
    form: LogFormat = "text",
    filters: Iterable[logging.Filter] = (),
) -> None:
    """Send everything to stderr through a safe formatter, including uncaught exceptions."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter if form == "json" else SafeFormatter
    handler.setFormatter(formatter(secrets))
    for each in filters:
        handler.addFilter(each)
    handler.addFilter(OnlySoOften())
    others = logging.INFO if level == "DEBUG" else level
    logging.basicConfig(level=others, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger(OURS).setLevel(level)
    # Their lines carry addresses with query strings, once for every request.
    for noisy in ("httpx", "httpcore", "granian.access", "engineio", "socketio", "stripe"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if form == "json":
        # The server has its own handler, which would keep its own format.
        for server in ("_granian", "granian.access"):
            logging.getLogger(server).handlers.clear()
            logging.getLogger(server).propagate = True
        sys.excepthook = _uncaught
        threading.excepthook = lambda args: _uncaught(
            args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
        )
        sys.unraisablehook = lambda args: _uncaught(
            args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
        )


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What the interpreter would print in many lines."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(OURS).critical("uncaught", exc_info=(kind, error, trace))
