"""Pages of lists that grow at the top: each begins behind the row where the one before ended.

So a page costs the same however far down it is, and no row is missed or shown twice while others are
added. Lists that can be ordered by anything have numbered pages instead, and are never long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, LiteralString, TypeVar
from uuid import UUID

T = TypeVar("T")
At = TypeVar("At", bound=date)
Id = TypeVar("Id", UUID, str)


@dataclass(frozen=True, slots=True)
class Cursor(Generic[At, Id]):
    """A place in a list: behind the row of this time (or day) with this id. Rows of one time are in the
    order of their ids."""

    at: At
    id: Id


# The order of most lists. Only a type: create a `Cursor` instead, since Python 3.11 can't create
# frozen values with slots through an alias.
Moment = Cursor[datetime, UUID]


@dataclass(frozen=True, slots=True)
class Page(Generic[T, At, Id]):
    """`older` when others come behind `end`, the last row's place; a page without rows has none."""

    found: Sequence[T]
    end: Cursor[At, Id] | None
    older: bool


@dataclass(frozen=True, slots=True)
class Keyset(Generic[T, At, Id]):
    """How a list is ordered, the newest first, and where in it a row is.

    Args:
        at: the column of the time.
        id: the column that is unique among the rows of one time.
        types: what Postgres calls the types of the two.
        ids_up: rows of one time begin with the smallest id.
    """

    at: LiteralString
    id: LiteralString
    place: Callable[[T], Cursor[At, Id]]
    types: tuple[LiteralString, LiteralString] = ("timestamptz", "uuid")
    ids_up: bool = False

    @property
    def behind(self) -> LiteralString:
        """A condition on the rows behind a place, or on all of them without one."""
        at, id_ = f"cast(:at as {self.types[0]})", f"cast(:id as {self.types[1]})"
        if self.ids_up:
            rest: LiteralString = f"{self.at} < {at} or {self.at} = {at} and {self.id} > {id_}"
        else:
            rest = f"({self.at}, {self.id}) < ({at}, {id_})"
        return f"({at} is null or {rest})"

    @property
    def page(self) -> LiteralString:
        """The order and the limit."""
        return f"order by {self.at} desc, {self.id} {'asc' if self.ids_up else 'desc'} limit :limit"

    def values(self, before: Cursor[At, Id] | None, limit: int) -> dict[str, object]:
        """For `behind` and `page`: one row more than a page holds shows whether there are
        others."""
        return {
            "at": before.at if before else None,
            "id": before.id if before else None,
            "limit": limit + 1,
        }

    def cut(self, rows: Sequence[T], limit: int) -> Page[T, At, Id]:
        """The page of the rows that were found with these values."""
        found, older = first(rows, limit)
        return Page(found, self.place(found[-1]) if found else None, older)


def first(rows: Sequence[T], limit: int) -> tuple[Sequence[T], bool]:
    """The first `limit` of up to `limit + 1` rows, and whether there are more."""
    return rows[:limit], len(rows) > limit


def pages_of(total: int, size: int) -> int:
    """How many numbered pages there are; an empty list has one."""
    return max(-(-total // size), 1)
