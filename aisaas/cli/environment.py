"""Which variables are set, before anything is started, and what the embedded parts add to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from dotenv import dotenv_values

from aisaas.cli.instance import Running, running_in
from aisaas.settings import PROJECT_ROOT
from childprocess.folder import DataFolder


@lru_cache(maxsize=1)
def configured() -> Mapping[str, str]:
    """What the operator set: `.env`, and over it the process environment; blank means not set."""
    path = PROJECT_ROOT / ".env"
    written = dotenv_values(path, interpolate=False) if path.is_file() else {}
    both = {**{name.upper(): value for name, value in written.items()}, **_nonblank(os.environ)}
    return _nonblank(both)


def _nonblank(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value and value.strip()}


def data_dir() -> Path:
    return Path(configured().get("AISAAS_DATA_DIR", PROJECT_ROOT / ".aisaas"))


def running() -> Running | None:
    """The instance that holds our data folder, if it is up."""
    return running_in(DataFolder(data_dir()))


def adopt(instance: Running | None) -> None:
    """Let this process see the parts of a running instance as the app itself does."""
    for name, value in (instance.env if instance else {}).items():
        if name not in configured():
            os.environ[name] = value
