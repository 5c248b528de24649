"""Logging: one line an event, stack traces in full, and nothing that must not be read.

Secrets' values are replaced wherever they turn up. Postgres' DETAIL and CONTEXT lines quote rows,
and so what users wrote; pydantic's errors quote what they were given; both are left out. DEBUG is for
our own lines only: at that level other people's libraries print prompts and headers.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

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


class SafeFormatter(logging.Formatter):
    """Formats like its parent, then takes out what must not be read."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        values = sorted({s for s in secrets if len(s) >= MIN_REDACTED_LENGTH}, key=len)
        # The longest first, so that a secret inside another is no leftover.
        self._secrets = tuple(reversed(values))

    def format(self, record: logging.LogRecord) -> str:
        return self.safe(super().format(record))

    def safe(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = _QUOTED_INPUT.sub(f"input_value={REDACTED}, input_type=", text)
        return _ROW_LINES.sub("", _TOKEN_LIKE.sub(REDACTED, text))


class JsonFormatter(SafeFormatter):
    """One JSON object a line, with what the line belongs to; times are UTC."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.safe(record.getMessage()),
            **context.current(),
            "pid": record.process,
        }
        if record.exc_info:
            line["exception"] = self.safe(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self.safe(record.stack_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, secrets: Iterable[str], *, form: LogFormat = "text") -> None:
    """Send everything to stderr through a safe formatter."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter if form == "json" else SafeFormatter
    handler.setFormatter(formatter(secrets))
    others = logging.INFO if level == "DEBUG" else level
    logging.basicConfig(level=others, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger(OURS).setLevel(level)
    # Their lines carry addresses with query strings, once for every request.
    for noisy in ("httpx", "httpcore", "granian.access", "engineio", "socketio", "stripe"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if form == "json":
        # The server has a handler of its own, which would go on in its own form.
        for server in ("_granian", "granian.access"):
            logging.getLogger(server).handlers.clear()
            logging.getLogger(server).propagate = True
