"""Views shared by the admin pages. Pure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class OrderView:
    """The key of the column that a table is sorted by, and the direction."""

    key: str = ""
    down: bool = True


@dataclasses.dataclass(frozen=True)
class PagerView:
    """A page of rows. `words` are like "21–40 of 312"."""

    page: int = 1
    earlier: bool = False
    later: bool = False
    words: str = ""


@dataclasses.dataclass(frozen=True)
class TileView:
    """A figure; `change` says how it compares, `hint` what it consists of."""

    name: str
    figure: str
    change: str = ""
    hint: str = ""


def pager_view(page: int, size: int, total: int, shown: int) -> PagerView:
    """Page `page`, counted from 1, of `total` rows, `size` a page, of which `shown` are in view."""
    first = (page - 1) * size + 1
    words = f"{first:,}–{first + shown - 1:,} of {total:,}" if shown else "0 results"
    return PagerView(page, earlier=page > 1, later=page * size < total, words=words)
