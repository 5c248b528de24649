"""`migrate`: bring the database to the newest schema."""

from __future__ import annotations

import argparse
import os
from urllib.parse import urlsplit

from aisaas.cli.environment import adopt, configured, running
from aisaas.cli.voice import voice
from aisaas.db.migrate import upgrade
from aisaas.errors import ConfigurationError
from aisaas.settings import WHERE_TO_GET_IT

VARIABLE = "MIGRATION_DATABASE_URL"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"Connects with {VARIABLE}, as the owner of schema public, through a direct or session "
        "connection. If it isn't set, migrates the embedded database of a running instance."
    )


def database_url() -> str:
    """What to migrate.

    Raises:
        ConfigurationError: nothing says it.
    """
    adopt(running())
    url = os.environ.get(VARIABLE) or configured().get(VARIABLE)
    if not url:
        raise ConfigurationError(
            (f"{VARIABLE}: is not set, and nothing is running here ({WHERE_TO_GET_IT[VARIABLE]})",)
        )
    return url


def execute(_: argparse.Namespace) -> int:
    url = database_url()
    heard = voice("migrate", secrets=(url, urlsplit(url).password or ""))
    upgrade(url)
    heard.say("The database schema is up to date.")
    return 0
