"""The message when something goes wrong: only an unavailable part is called unavailable."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy.exc import ProgrammingError

from aisaas.errors import DependencyError, NotFound, TooSlow, Unavailable
from aisaas.ui.notices import _as_refusal  # pyright: ignore[reportPrivateUsage]


async def handler() -> None: ...


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable(), "unavailable"),
        (DependencyError("database"), "unavailable"),
        (TooSlow(), "too_slow"),
        (NotFound(), "not_found"),
        (ProgrammingError("select", {}, Exception("no such column")), "internal_error"),
        (RuntimeError("a bug"), "internal_error"),
    ],
)
def test_refusal_says_whose_fault_it_is(error: Exception, code: str) -> None:
    assert _as_refusal(error, handler).code == code


@pytest.mark.parametrize(
    ("error", "level"),
    [(RuntimeError("a bug"), logging.ERROR), (DependencyError("database"), logging.WARNING)],
)
def test_bug_is_an_error_in_the_log_and_an_outage_a_warning(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    _as_refusal(error, handler)
    assert [record.levelno for record in caplog.records] == [level]
