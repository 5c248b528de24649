"""Bring a database to the newest schema, and check whether it has it.

Safe to start from several places at once: one migrates, the others wait and find nothing to do.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from aisaas.errors import DependencyError

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "alembic"
# How long a second migrator waits for the first.
WAIT_SECONDS = 60.0
CONNECT_SECONDS = 5
# A statement that waits for a table keeps everybody behind it waiting too, and theirs end after
# STATEMENT_TIMEOUT (db/engine.py). So it gives up well before, lets them through, and tries again.
TABLE_LOCK_SECONDS = 2.0
TABLE_LOCK_ATTEMPTS = 15
TABLE_LOCK_PAUSE_SECONDS = 2.0


def upgrade(url: str, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Run the missing migrations, each completely or not at all.

    One that can't lock a table within TABLE_LOCK_SECONDS is retried for a while; earlier ones stay
    applied.

    Args:
        url: a direct or session connection as the owner of schema public.
        wait_seconds: how long to wait for another process that is migrating.

    Raises:
        ConfigurationError: the database isn't a Supabase database.
        DependencyError: it did not answer, refused a statement, or another migration didn't finish.
    """
    # Slow to import, and most who import this module don't migrate.
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415

    config = alembic_config()
    config.attributes.update(url=url, wait_seconds=wait_seconds)
    for attempt in range(1, TABLE_LOCK_ATTEMPTS + 1):
        try:
            command.upgrade(config, "head")
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", error)
            if not isinstance(cause, psycopg.errors.LockNotAvailable):
                first_line = str(cause).splitlines()[0]
                raise DependencyError(f"migrating the database: {first_line}") from error
            if attempt == TABLE_LOCK_ATTEMPTS:
                raise DependencyError(
                    "migrating the database: a table was in use for too long; see pg_stat_activity for "
                    "long transactions, then start again"
                ) from error
            log.warning("a table is in use; trying again in %.0f s", TABLE_LOCK_PAUSE_SECONDS)
            time.sleep(TABLE_LOCK_PAUSE_SECONDS)
        else:
            return


def is_current(url: str) -> bool:
    """Whether the database has this release's newest migration. Needs no Alembic, which is slow to import.

    Args:
        url: a connection as a login that may act as service_role.

    Raises:
        DependencyError: the database did not answer.
    """
    newest = max(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("*.py"))
    return _version(url) == newest


def missing(url: str) -> tuple[str, ...]:
    """The migrations of this release that the database lacks, the next one first.

    A database that is ahead, as while an older release is still served beside a newer one, lacks
    none.

    Args:
        url: a connection as a login that may act as service_role.

    Raises:
        DependencyError: the database did not answer.
    """
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # slow to import

    ours = [
        script.revision
        for script in ScriptDirectory.from_config(alembic_config()).walk_revisions("base", "heads")
    ][::-1]
    at = _version(url)
    if at is None:
        return tuple(ours)
    return tuple(ours[ours.index(at) + 1 :]) if at in ours else ()


def _version(url: str) -> str | None:
    try:
        with psycopg.connect(
            url, prepare_threshold=None, connect_timeout=CONNECT_SECONDS
        ) as connection:
            connection.execute("set local role service_role")
            row = connection.execute("select version_num from private.alembic_version").fetchone()
    except (
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.UndefinedTable,
        # Migrated by a release that didn't let anybody look.
        psycopg.errors.InsufficientPrivilege,
        # No database of Supabase's, so the role isn't there; migrating says what else it lacks.
        psycopg.errors.InvalidParameterValue,
    ):
        return None
    except psycopg.Error as error:
        raise DependencyError("database") from error
    return row[0] if row else None


def alembic_config() -> Config:
    # Imported here: it is slow, and the app itself doesn't migrate.
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config
