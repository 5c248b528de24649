"""Errors that pages report: one line for the log, in words of ours.

What a page reports is text that anybody can send, and may quote what a user wrote. The log gets the
kind of the error, if it is one that browsers have, and the place in a file of our build. Each address
may report so many, and all together so many more; the rest is counted.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from functools import cache
from pathlib import Path

from aisaas.api.security_headers import BUILT_PAGES
from aisaas.observe.metrics import PAGE_ERRORS

log = logging.getLogger(__name__)

KINDS = frozenset(
    {
        *("AggregateError", "EvalError", "InternalError", "RangeError", "ReferenceError"),
        *("SyntaxError", "TypeError", "URIError", "AbortError", "ChunkLoadError", "DataCloneError"),
        *("HierarchyRequestError", "InvalidStateError", "NetworkError", "NotAllowedError"),
        *("NotFoundError", "QuotaExceededError", "SecurityError", "TimeoutError"),
    }
)
OTHER = "Error"
WINDOW_SECONDS = 60.0
PER_ADDRESS = 5
PER_WINDOW = 20
# Enough for a stack trace; the rest is ignored.
MAX_LOOKED_AT = 4_096
_KIND = re.compile(r"(?:Uncaught )?([A-Za-z]{3,30})\b")
_PLACE = re.compile(r"/assets/([\w.-]{1,120}\.js):(\d{1,7}):(\d{1,7})", re.ASCII)


class PageErrors:
    """Writes reports into the log, within their rates. `assets` are the names of our build's files."""

    def __init__(self, assets: frozenset[str]) -> None:
        self._assets = assets
        self._since = time.monotonic()
        self._reported: Counter[str] = Counter()

    def report(self, address: str, text: object) -> None:
        kind, place = described(text, self._assets)
        PAGE_ERRORS.labels(kind).inc()
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            unwritten = self._reported.total() - self._written()
            if unwritten:
                log.warning("pages reported %d more errors", unwritten)
            self._since, self._reported = now, Counter()
        may = self._written() < PER_WINDOW and self._reported[address] < PER_ADDRESS
        self._reported[address] += 1
        if may:
            log.warning("a page reported: %s at %s", kind, place or "an unknown place")

    def _written(self) -> int:
        return min(PER_WINDOW, sum(min(count, PER_ADDRESS) for count in self._reported.values()))


def described(text: object, assets: frozenset[str]) -> tuple[str, str]:
    """The kind of an error, and where it happened or "", in words that no reporter chooses."""
    looked_at = text[:MAX_LOOKED_AT] if isinstance(text, str) else ""
    found = _KIND.match(looked_at)
    kind = found[1] if found and found[1] in KINDS else OTHER
    for file, line, column in _PLACE.findall(looked_at):
        if file in assets:
            return kind, f"{file}:{line}:{column}"
    return kind, ""


@cache
def page_errors() -> PageErrors:
    return PageErrors(built_assets(BUILT_PAGES))


def built_assets(pages: Path) -> frozenset[str]:
    return frozenset(path.name for path in (pages / "assets").glob("*.js"))
