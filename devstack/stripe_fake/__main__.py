"""`python -m devstack.stripe_fake` serves until it is stopped."""

import asyncio
import os
import sys
from collections.abc import Mapping

from devstack.serving import (
    CannotStartError,
    log,
    refuse_outside_development,
    serve,
    set_up_logging,
)
from devstack.stripe_fake.app import build_app
from devstack.stripe_fake.books import Books
from devstack.stripe_fake.config import Config, MisconfiguredError, read_config
from devstack.stripe_fake.delivery import Deliverer
from devstack.stripe_fake.services import Services
from devstack.stripe_fake.webhook_endpoints import preset

MISCONFIGURED = 2
FAILED = 1
TICK_SECONDS = 1.0


async def run(config: Config) -> None:
    books = Books(config.data_dir / "books.sqlite", strict=config.strict)
    preset(books, config)
    deliverer = Deliverer(books)
    app = build_app(Services(config, books, deliverer))
    try:
        # Without either of the two this would be another Stripe: should one end, all of it ends.
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(_tick(books)), group.create_task(deliverer.run())]
            await serve(app, name="payments", port=config.port)
            for task in background:
                task.cancel()
    finally:
        books.close()


async def _tick(books: Books) -> None:
    while True:
        try:
            books.run_due()
        except Exception:  # noqa: BLE001  # logged; due work stays due and is retried
            log("due work could not be done", failed=True)
        await asyncio.sleep(TICK_SECONDS)


def main(environment: Mapping[str, str]) -> int:
    set_up_logging()
    try:
        refuse_outside_development(environment, "The Stripe fake")
        asyncio.run(run(read_config(environment)))
    except MisconfiguredError as error:
        sys.stderr.write(f"payments: {error}\n")
        return MISCONFIGURED
    except CannotStartError as error:
        sys.stderr.write(f"payments: {error}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
