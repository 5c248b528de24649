"""Bring a database to the newest schema. Safe to run from several places at once."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from aisaas.errors import DependencyError

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "alembic"


def upgrade(url: str) -> None:
    """Run the migrations that are missing.

    Args:
        url: a direct or session connection as the owner of schema public.

    Raises:
        ConfigurationError: the database isn't a Supabase database.
        DependencyError: it did not answer, or refused a statement.
    """
    # Imported here: only the command line needs it, and it is slow to import.
    from alembic.config import Config  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["url"] = url
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        first_line = str(getattr(error, "orig", error)).splitlines()[0]
        raise DependencyError(f"migrating the database: {first_line}") from error
