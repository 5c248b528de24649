"""Objects that wait for a point in time: which comes next, and what then happens to it.

Invariant: an object waits under its own key `_due`, in the time of its test clock or else the books';
the code that acts on it then sets the key to a later time, or to None.
"""

from collections.abc import Callable

from devstack.stripe_fake.books import Books, Due, Object

DUE = "_due"


def waiting(kind: str, act: Callable[[Books, Object, int], None]) -> Due:
    """Scheduled work on objects of a kind, one after another."""

    def following(books: Books) -> int | None:
        (at,) = books.database.execute(
            "select min(json_extract(body, '$._due')) from objects where kind = ? "
            "and json_extract(body, '$._due') is not null "
            "and json_extract(body, '$.test_clock') is ?",
            (kind, books.clocked),
        ).fetchone()
        return at

    def run(books: Books, at: int) -> None:
        rows = books.database.execute(
            "select id from objects where kind = ? and json_extract(body, '$._due') <= ? "
            "and json_extract(body, '$.test_clock') is ? order by seq",
            (kind, at, books.clocked),
        ).fetchall()
        for (given,) in rows:
            act(books, books.need(kind, given), at)

    return Due(following, run)
