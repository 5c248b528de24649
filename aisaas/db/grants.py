"""Who may do what to which table, in full, as data.

The migrations grant; this says what they should have granted. The tests compare it with the catalog
and exercise all of it, and `check --production` compares a real database with it. A table that
isn't here fails both.
"""

from __future__ import annotations

from dataclasses import dataclass

# What happens when each role touches a row that belongs to Ada. A letter: the verb works (s select,
# i insert, u update, d delete). 0: it runs and reaches nothing. -: it is refused. An insert by
# another user is one that names Ada as the owner.
MATRIX = """
table                            anonymous  stranger  owner  service
private.added_models             ----       ----      ----   siu-
private.alembic_version          ----       ----      ----   s---
private.job_failures             ----       ----      ----   siud
private.kill_switches            ----       ----      ----   siud
private.loss_alerts              ----       ----      ----   siud
private.metering                 ----       ----      ----   s-u-
private.model_overrides          ----       ----      ----   siu-
private.price_versions           ----       ----      ----   si--
private.provider_circuits        ----       ----      ----   siud
private.provider_errors          ----       ----      ----   siud
private.provider_health          ----       ----      ----   siud
private.removed_accounts         ----       ----      ----   s--d
private.sessions                 ----       ----      ----   siud
private.spending_alerts          ----       ----      ----   siud
private.spending_caps            ----       ----      ----   siud
private.subscription_tasks       ----       ----      ----   siud
private.token_ratios             ----       ----      ----   siu-
private.usage_by_user            ----       ----      ----   s---
private.usage_losses             ----       ----      ----   si--
private.usage_totals             ----       ----      ----   s---
private.write_offs               ----       ----      ----   si--
public.audit_log                 ----       ----      ----   si--
public.billing_notices           ----       ----      ----   siud
public.conversations             ----       0-0-      siu-   s--d
public.credit_grants             ----       0---      s---   siu-
public.credit_uses               ----       ----      ----   si--
public.entitlement_differences   ----       ----      ----   siud
public.meter_reconciliations     ----       ----      ----   siud
public.messages                  ----       0---      si--   s-ud
public.processed_webhook_events  ----       ----      ----   siud
public.profile_pictures          ----       0--0      si-d   s---
public.profiles                  ----       0-0-      s-u-   s-u-
public.quota_periods             ----       0---      s---   siud
public.refusals                  ----       0---      s---   siud
public.reservations              ----       0---      s---   siud
public.spend_days                ----       ----      ----   siu-
public.subscriptions             ----       0---      s---   siu-
public.usage_days                ----       0---      s---   s---
public.usage_outbox              ----       ----      ----   siu-
public.usage_records             ----       0---      s---   si--
public.webhook_failures          ----       ----      ----   siud
"""

VERBS = ("select", "insert", "update", "delete")
WHO = ("anonymous", "stranger", "owner", "service")

# Columns, where it isn't all or none of them: (table, database role, verb) -> columns.
COLUMNS = {
    ("private.loss_alerts", "service_role", "update"): (
        "state attempts next_attempt_at last_error sent_at"
    ),
    ("private.spending_alerts", "service_role", "update"): (
        "state attempts next_attempt_at last_error sent_at"
    ),
    ("public.billing_notices", "service_role", "update"): (
        "state attempts next_attempt_at last_error sent_at"
    ),
    ("public.conversations", "authenticated", "insert"): "id user_id title model effort",
    ("public.conversations", "authenticated", "update"): (
        "title model effort last_message_at deleted_at leaf_id"
    ),
    ("public.credit_grants", "authenticated", "select"): (
        "id user_id tokens spent expires_at created_at"
    ),
    ("public.credit_grants", "service_role", "update"): "spent",
    ("public.entitlement_differences", "service_role", "update"): (
        "ours theirs note found_by found_at corrected_at"
    ),
    ("public.messages", "authenticated", "insert"): (
        "id conversation_id user_id role content status reply_to model parent_id depth"
    ),
    ("public.processed_webhook_events", "service_role", "update"): (
        "outcome customer_id subscription_id note"
    ),
    ("public.profile_pictures", "authenticated", "insert"): (
        "user_id version content content_type"
    ),
    ("public.profiles", "authenticated", "select"): (
        "id email full_name avatar_url role plan subscription_status created_at updated_at"
        " subscription_id period_start period_end plan_ends_at overage_cap_usd"
    ),
    ("public.profiles", "authenticated", "update"): "full_name avatar_url overage_cap_usd",
    ("public.reservations", "authenticated", "select"): (
        "id user_id conversation_id message_id purpose model tokens state created_at"
    ),
    ("public.subscriptions", "authenticated", "select"): (
        "id user_id status plan current_period_start current_period_end cancel_at_period_end"
        " trial_end cancel_at"
    ),
}

# Functions of ours, and the roles which may call them. Triggers need no grant to fire.
FUNCTIONS: dict[str, frozenset[str]] = {
    "private.claim_meter_events": frozenset({"service_role"}),
    "private.claim_usage": frozenset({"service_role"}),
    "private.close_reservation": frozenset({"service_role"}),
    "private.note_removed_account": frozenset(),
    "private.place_message": frozenset(),
    "private.profile_follows_email": frozenset(),
    "private.profile_for_new_user": frozenset(),
    "private.require_profile": frozenset(),
    "private.reserve": frozenset({"service_role"}),
    "private.sum_extra_usage": frozenset(),
    "private.sum_usage": frozenset(),
    "private.sum_usage_by_day": frozenset(),
    "private.touch_updated_at": frozenset(),
}

# Database role -> the persons of the matrix who act as it.
ROLES = {"anon": "anonymous", "authenticated": "owner", "service_role": "service"}


@dataclass(frozen=True, slots=True)
class Expected:
    """One cell of the matrix."""

    table: str
    who: str
    verb: str
    mark: str

    @property
    def refused(self) -> bool:
        return self.mark == "-"

    @property
    def rows(self) -> int:
        """How many of Ada's rows the verb reaches."""
        return 0 if self.mark == "0" else 1


def _cells() -> dict[tuple[str, str, str], Expected]:
    header, *lines = MATRIX.strip().splitlines()
    assert tuple(header.split()[1:]) == WHO
    found: dict[tuple[str, str, str], Expected] = {}
    for line in lines:
        table, *marks = line.split()
        for who, row in zip(WHO, marks, strict=True):
            for verb, mark in zip(VERBS, row, strict=True):
                assert mark in {verb[0], "0", "-"}, line
                found[table, who, verb] = Expected(table, who, verb, mark)
    return found


CELLS = _cells()
TABLES = frozenset(table for table, _, _ in CELLS)


def columns(table: str, role: str, verb: str, every: frozenset[str]) -> frozenset[str]:
    """The columns a role may select, insert or update; `every` are those the table has."""
    listed = COLUMNS.get((table, role, verb))
    if listed is not None:
        return frozenset(listed.split())
    return frozenset() if CELLS[table, ROLES[role], verb].refused else every
