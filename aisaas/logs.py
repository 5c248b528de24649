"""Logging: one line an event, stack traces in full, and nothing that must not be read.

Secrets' values are replaced wherever they turn up. Postgres' DETAIL and CONTEXT lines quote rows,
and so what users wrote; they are left out.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable

REDACTED = "[redacted]"
# Shorter values would blank out ordinary words.
MIN_REDACTED_LENGTH = 8
_ROW_LINES = re.compile(r"^\s*(DETAIL|CONTEXT|QUERY|STATEMENT|LINE \d+):.*$", re.MULTILINE)
_TOKEN_LIKE = re.compile(
    r"(eyJ[\w-]+\.[\w-]+\.[\w-]+|\b(?:sk|rk|whsec|sb_secret)[-_][\w-]{8,}|(?<=[?&]token=)[\w-]+)"
)


class SafeFormatter(logging.Formatter):
    """Formats like its parent, then takes out what must not be read."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        values = sorted({s for s in secrets if len(s) >= MIN_REDACTED_LENGTH}, key=len)
        # The longest first, so that a secret inside another is no leftover.
        self._secrets = tuple(reversed(values))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return _ROW_LINES.sub("", _TOKEN_LIKE.sub(REDACTED, text))


def configure(level: str, secrets: Iterable[str]) -> None:
    """Send everything to stderr through the safe formatter."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Their lines carry addresses with query strings, once for every request.
    for noisy in ("httpx", "httpcore", "granian.access", "engineio", "socketio", "stripe"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
