"""An export of usage, a line at a time: as CSV for a spreadsheet, or JSON for a script.

Invariant: no cell is a formula, whatever address a user has chosen.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Literal

from aisaas.admin.usage import Cell
from aisaas.billing.ledger.usage_models import By
from aisaas.billing.ledger.usage_reports import FIGURES

Format = Literal["csv", "json"]
Rows = AsyncIterator[Mapping[str, Cell]]

_NAMED: Mapping[By, tuple[str, ...]] = {
    "user": ("user", "email", "plan"),
    "model": ("model",),
    "day": ("day",),
    "hour": ("hour",),
}
# A cell that starts with one of these is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# Lines written at once.
_TOGETHER = 500


def columns(by: By) -> tuple[str, ...]:
    return (*_NAMED[by], *FIGURES)


async def csv_text(rows: Rows, by: By) -> AsyncIterator[str]:
    """RFC 4180, with a line of names first; the first part comes with the first rows."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns(by))
    writer.writeheader()
    waiting = 0
    async for row in rows:
        writer.writerow({name: _harmless(cell) for name, cell in row.items()})
        waiting += 1
        if waiting == _TOGETHER:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
            waiting = 0
    yield buffer.getvalue()


async def json_text(rows: Rows) -> AsyncIterator[str]:
    """One array; money is text, so that no digit is lost."""
    between = "[\n"
    async for row in rows:
        yield between + json.dumps({name: _plain(cell) for name, cell in row.items()})
        between = ",\n"
    yield "[]\n" if between == "[\n" else "\n]\n"


def _harmless(cell: Cell) -> str:
    words = f"{cell:f}" if isinstance(cell, Decimal) else str(cell)
    if isinstance(cell, str) and words.startswith(_FORMULA):
        return f"'{words}"
    return words


def _plain(cell: Cell) -> str | int:
    return f"{cell:f}" if isinstance(cell, Decimal) else cell
