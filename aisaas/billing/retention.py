"""How long billing records are kept, by setting. Each folder has the rules of its tables.

Invariant: `RECORDS` is longer than the provider redelivers or shows an event (30 days), since these
rows keep an event from being handled twice, and a fact from being mailed twice; `ACCOUNTING` is
longer than the meter accepts usage (35 days). Rows that still need action stay, however old. The
ledger, its sums, the outbox, credits and the audit log are kept.
"""

from __future__ import annotations

RECORDS = "retention_records_days"
ACCOUNTING = "retention_accounting_days"
