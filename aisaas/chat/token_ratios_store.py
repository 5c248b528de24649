"""The SQL of models' token ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from aisaas.db.engine import PipelinedQuery

_READ: LiteralString = """
    select model, highest::float8 as highest, typical::float8 as typical, reports
    from private.token_ratios
    """
# Rises at once, and falls by a share of the difference.
_LEARN: LiteralString = """
    insert into private.token_ratios as r (model, highest, typical, reports)
    values (%(model)s, %(ratio)s, %(ratio)s, 1)
    on conflict (model) do update set
      highest = case when r.reports = 0 then excluded.highest
        else greatest(excluded.highest,
          r.highest + (excluded.highest - r.highest) * %(forget)s::numeric) end,
      typical = case when r.reports = 0 then excluded.typical
        else r.typical + (excluded.typical - r.typical) * %(share)s::numeric end,
      reports = r.reports + 1,
      updated_at = now()
    returning model, highest::float8 as highest, typical::float8 as typical, reports
    """
_DISBELIEVE: LiteralString = """
    insert into private.token_ratios as r (model, disbelieved) values (%(model)s, 1)
    on conflict (model) do update set disbelieved = r.disbelieved + 1, updated_at = now()
    returning model
    """


@dataclass(frozen=True, slots=True)
class TokenRatio:
    """A provider's tokens per token of ours, from a model's reports: the highest, which decays slowly,
    and the typical. `reports` is how many were learned from."""

    model: str
    highest: float
    typical: float
    reports: int


def read() -> PipelinedQuery[dict[str, TokenRatio]]:
    return PipelinedQuery(
        ((_READ, {}),),
        lambda answers: {row["model"]: TokenRatio(**row) for row in answers[0] if row["reports"]},
    )


def learn(model: str, ratio: float, *, forget: float, share: float) -> PipelinedQuery[TokenRatio]:
    parameters = {"model": model, "ratio": round(ratio, 4), "forget": forget, "share": share}
    return PipelinedQuery(((_LEARN, parameters),), lambda answers: TokenRatio(**answers[0][0]))


def disbelieve(model: str) -> PipelinedQuery[None]:
    return PipelinedQuery(((_DISBELIEVE, {"model": model}),), lambda _: None)
