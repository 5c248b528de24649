"""For how long money's records are kept, by the settings that say so. Each folder has the rules of its tables.

Invariant: `RECORDS` is longer than the provider redelivers an event or shows it (30 days), since
these rows are what keeps an event from being handled twice, and a fact from being mailed twice; and
`ACCOUNTING` is longer than the meter takes usage (35 days). What still waits for somebody stays,
however old. The ledger, its sums, the outbox, credits and the audit log are kept.
"""

from __future__ import annotations

RECORDS = "retention_records_days"
ACCOUNTING = "retention_accounting_days"
