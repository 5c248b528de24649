"""`python -m devstack.auth` serves; with `--migrate` it makes the tables and ends."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from devstack.auth.app import build_app
from devstack.auth.config import (
    Config,
    MisconfiguredError,
    read_config,
    read_database_url,
)
from devstack.auth.database import Database
from devstack.auth.errors import AuthError
from devstack.auth.passwords import Passwords
from devstack.auth.retention import keep_removing
from devstack.auth.services import Services
from devstack.auth.smtp import listening
from devstack.auth.tokens import load_keyring
from devstack.serving import CannotStartError, log, serve, set_up_logging

MISCONFIGURED = 2
FAILED = 1


async def migrate(database_url: str) -> None:
    database = Database(database_url)
    try:
        await database.apply_schema()
    finally:
        await database.close()
    log("schema applied")


async def run(config: Config) -> None:
    database = Database(config.database_url)
    passwords = Passwords(config.password_kib)
    try:
        await database.apply_schema()
        async with database.transaction() as connection:
            keyring = await load_keyring(connection, config.issuer)
        app = build_app(Services(config, database, keyring, passwords))
        removing = asyncio.create_task(keep_removing(database))
        try:
            async with listening(database, config.smtp_port):
                await serve(app, name="auth", port=config.port)
        finally:
            removing.cancel()
            await asyncio.wait([removing])
    finally:
        passwords.close()
        await database.close()


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    set_up_logging()
    if arguments and list(arguments) != ["--migrate"]:
        sys.stderr.write("usage: python -m devstack.auth [--migrate]\n")
        return MISCONFIGURED
    try:
        if arguments:
            asyncio.run(migrate(read_database_url(environment)))
        else:
            asyncio.run(run(read_config(environment)))
    except MisconfiguredError as error:
        sys.stderr.write(f"auth: {error}\n")
        return MISCONFIGURED
    except (CannotStartError, AuthError) as error:
        sys.stderr.write(f"auth: {error}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
