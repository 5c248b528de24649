"""How far metering is behind."""

from __future__ import annotations

from dataclasses import dataclass

from aisaas.billing.plans.models import LATE_SECONDS


@dataclass(frozen=True, slots=True)
class MeteringHealth:
    """Rows of the outbox that are not in the meter, by state, and the age of the oldest that waits."""

    pending: int
    # Whether the meter has them is not known.
    parked: int
    # Refused for good: an admin has to look.
    dead: int
    oldest_seconds: float | None

    @property
    def late(self) -> bool:
        """Something keeps usage from the meter."""
        return self.oldest_seconds is not None and self.oldest_seconds > LATE_SECONDS
