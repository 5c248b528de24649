"""What jobs set aside."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from aisaas.db.columns import (
    NOW,
    Table,
    index,
    length,
    positive,
)


class JobFailure(Table, table=True):
    """An item that a job could not do; set aside once there is no next try."""

    __tablename__ = "job_failures"
    __table_args__ = (
        length("item", 400),
        length("job", 100),
        length("last_error", 300, least=0),
        *positive("attempts"),
        index("set_aside", "last_at desc", where="next_attempt_at is null"),
        {"schema": "private"},
    )

    job: str = Field(primary_key=True)
    item: str = Field(primary_key=True)
    attempts: int
    last_error: str
    first_at: datetime = Field(sa_column_kwargs=NOW)
    last_at: datetime = Field(sa_column_kwargs=NOW)
    next_attempt_at: datetime | None = None
