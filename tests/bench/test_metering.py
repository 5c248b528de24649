"""The measurement of metering sends everything, and counts both sides for itself."""

from __future__ import annotations

from benchmarks import metering


def test_everything_measured_is_in_ledger_and_meter() -> None:
    found = metering.measure(rows=40, customers=5)
    assert found["ledger_tokens"] == found["meter_tokens"] > 0
    assert found["per_second"] > 0
