"""The instance that holds a data folder, as `run` describes it to the other commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from childprocess.folder import DataFolder


@dataclass(frozen=True, slots=True)
class Running:
    """The instance that holds the folder, for `status`, `check`, benchmarks, and tests."""

    url: str
    database_url: str
    service_database_url: str
    redis_url: str
    auth_url: str
    mailbox_url: str | None
    model_base: str | None
    data_dir: str
    pids: dict[str, int] = field(default_factory=dict[str, int])
    # The variables that the embedded parts gave the app, so that other commands can work beside it.
    env: dict[str, str] = field(default_factory=dict[str, str])
    payments_url: str | None = None


def running_in(folder: DataFolder) -> Running | None:
    """The instance that is up, or None."""
    described = folder.description()
    return Running(**described) if described else None
