"""Steps of a migration that would block writers for as long as they take, done so that they don't.

They run outside any transaction: what a migration did before them is committed, and they may be met
half done by the next attempt. So each can be done again, and is best alone in its migration.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection, text

from alembic import op

# Time for older transactions to finish; no query is blocked behind it meanwhile.
PATIENCE = "15min"


@contextmanager
def outside_transaction() -> Generator[Connection]:
    """A connection on which each statement stands alone, with time to wait for long transactions."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        before = connection.execute(text("show lock_timeout")).scalar_one()
        _limit(connection, PATIENCE)
        try:
            yield connection
        finally:
            _limit(connection, str(before))


def create_index_concurrently(name: str, on: str, *, unique: bool = False) -> None:
    """Without blocking writers.

    Args:
        name: of the index, with its schema, which is its table's, like `public.messages_page_idx`.
        on: the rest of the statement, like `public.messages (conversation_id, created_at)`.
    """
    kind = "unique index" if unique else "index"
    with outside_transaction() as connection:
        # An interrupted attempt leaves an index that no query uses and that slows down every write.
        if _is_invalid(connection, name):
            connection.execute(text(f"drop index concurrently {name}"))
        own_name = name.partition(".")[2]
        connection.execute(text(f"create {kind} concurrently if not exists {own_name} on {on}"))


def drop_index_concurrently(name: str) -> None:
    """Without blocking readers or writers. `name` includes the schema."""
    with outside_transaction() as connection:
        connection.execute(text(f"drop index concurrently if exists {name}"))


def _is_invalid(connection: Connection, name: str) -> bool:
    query = text("select not indisvalid from pg_index where indexrelid = to_regclass(:name)")
    return bool(connection.execute(query, {"name": name}).scalar())


def _limit(connection: Connection, limit: str) -> None:
    connection.execute(text("select set_config('lock_timeout', :limit, false)"), {"limit": limit})
