"""The measurement of the dashboard sums everything. How fast it is belongs to the measurement."""

from __future__ import annotations

from benchmarks import dashboard


def test_measured_sums_are_the_ledgers() -> None:
    found = dashboard.measure(rows=1800, users=40, rounds=10)
    assert set(found) == {"rows", "p95_ms", "sum_matches"}
    assert (found["rows"], found["sum_matches"]) == (1800, True)
    assert isinstance(found["p95_ms"], float)
    assert found["p95_ms"] > 0
