"""`python -m devstack.demo_model` serves until it is stopped."""

import asyncio
import math
import os
import sys
from collections.abc import Mapping

from devstack.demo_model.app import Settings, build_app
from devstack.serving import (
    CannotStartError,
    read_port,
    refuse_outside_development,
    serve,
    set_up_logging,
)

DEFAULT_TOKENS_PER_SECOND = 60.0
MISCONFIGURED = 2
FAILED = 1


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises `ValueError` naming everything that is wrong, in one line."""
    wrong: list[str] = []
    port, speed = 0, DEFAULT_TOKENS_PER_SECOND
    try:
        port = read_port(environment, "DEMO_PORT")
    except ValueError as error:
        wrong.append(str(error))
    if not environment.get("DEMO_API_KEY"):
        wrong.append("DEMO_API_KEY is missing")
    try:
        speed = float(environment.get("DEMO_TOKENS_PER_SECOND") or speed)
    except ValueError:
        speed = math.nan
    if not math.isfinite(speed) or speed < 0:
        wrong.append("DEMO_TOKENS_PER_SECOND is not a number of tokens")
    if wrong:
        raise ValueError("; ".join(wrong))
    return Settings(port=port, api_key=environment["DEMO_API_KEY"], tokens_per_second=speed)


def main(environment: Mapping[str, str]) -> int:
    set_up_logging()
    try:
        refuse_outside_development(environment, "The demo model")
        settings = read_settings(environment)
        asyncio.run(serve(build_app(settings), name="demo_model", port=settings.port))
    except ValueError as error:
        sys.stderr.write(f"demo_model: {error}\n")
        return MISCONFIGURED
    except CannotStartError as error:
        sys.stderr.write(f"demo_model: {error}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
