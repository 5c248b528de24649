"""Objects that wait for an instant: which comes next, and what then happens to it.

Invariant: an object waits under its own key `_due`, in the books' time; whoever acts on it at that
instant sets the key to a later one, or to None.
"""

from collections.abc import Callable

from aisaas.embedded.payments.books import Books, Due, Object

DUE = "_due"


def waiting(kind: str, act: Callable[[Books, Object, int], None]) -> Due:
    """What happens by itself to objects of a kind, to each in its turn."""

    def following(books: Books) -> int | None:
        (at,) = books.database.execute(
            "select min(json_extract(body, '$._due')) from objects where kind = ? "
            "and json_extract(body, '$._due') is not null",
            (kind,),
        ).fetchone()
        return at

    def run(books: Books, at: int) -> None:
        rows = books.database.execute(
            "select id from objects where kind = ? and json_extract(body, '$._due') <= ? "
            "order by seq",
            (kind, at),
        ).fetchall()
        for (given,) in rows:
            act(books, books.need(kind, given), at)

    return Due(following, run)
