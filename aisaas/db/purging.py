"""Removes rows that are no longer needed, a batch at a time.

Each batch is its own transaction and far below the statement timeout, even if other rows refer to a
row: the referring rows go first. So a purge can be interrupted at any time and resumes where it
stopped, and any number of processes may run it at once. docs/operations/retention.md says how long
each table keeps its rows, and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from sqlalchemy import text

from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow

log = logging.getLogger(__name__)

# Rows of one transaction, so that none holds its locks for long.
BATCH = 2000
# A canceled batch is retried with its size divided by this.
SMALLER = 8
# Others want the disk, too.
PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Rule:
    """Which rows of a table are removed.

    `find` selects the `ctid` of at most `:batch` rows, locked (where the service may lock them) and
    skipping those that others hold. `keep` names the setting that its `:days` are.
    """

    table: LiteralString
    find: LiteralString
    keep: str | None = None


def older(table: LiteralString, since: LiteralString, keep: str) -> Rule:
    """Rows go a number of days after a time that is in them.

    Args:
        table: with its schema.
        since: a condition that ends in the column of the time, like "state = 'sent' and sent_at".
        keep: the setting that says how many days.
    """
    return Rule(
        table,
        f"select ctid from {table} where {since} < now() - make_interval(days => :days)"  # noqa: S608  # names of this program
        " limit :batch for update skip locked",
        keep,
    )


class Purge:
    """Follows rules in their order. Any process may, for all of them."""

    def __init__(
        self, service: ServiceDatabase, rules: Sequence[Rule], days: Mapping[str, int]
    ) -> None:
        """Args:
        days: by setting, for how long.
        """
        self._service = service
        self._rules = rules
        self._days = days

    async def run(self) -> Mapping[str, int]:
        """The number of rows removed, by table.

        Raises:
            DependencyError: the database is unavailable; rows removed by then stay removed.
            PurgeFailed: some tables could not be purged. The others were.
        """
        removed: dict[str, int] = {}
        failed: list[str] = []
        for rule in self._rules:
            try:
                removed[rule.table] = removed.get(rule.table, 0) + await self._follow(rule)
            except DependencyError:
                raise
            except Exception:
                # Whatever it is about this table, the others have their turn.
                log.exception("removing old rows of %s failed", rule.table)
                failed.append(rule.table)
        if failed:
            raise PurgeFailed(failed)
        return removed

    async def _follow(self, rule: Rule) -> int:
        removed, batch = 0, BATCH
        while True:
            try:
                found = await self._remove(rule, batch)
            except TooSlow:
                if batch == 1:
                    raise
                batch = max(batch // SMALLER, 1)
                continue
            removed += found
            if not found:
                return removed
            await asyncio.sleep(PAUSE_SECONDS)

    async def _remove(self, rule: Rule, batch: int) -> int:
        values: dict[str, int] = {"batch": batch}
        if rule.keep is not None:
            values["days"] = self._days[rule.keep]
        async with self._service.transaction() as session:
            rows = await session.execute(
                text(
                    f"""
                    with gone as (
                      delete from {rule.table} where ctid = any(array({rule.find})) returning 1
                    )
                    select count(*) from gone
                    """  # noqa: S608  # statements of this program
                ),
                values,
            )
            return int(rows.scalar_one())


class PurgeFailed(Exception):
    """`tables` could not be purged; the log says why."""

    def __init__(self, tables: Sequence[str]) -> None:
        self.tables = tuple(tables)
        super().__init__(", ".join(self.tables))
