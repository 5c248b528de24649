"""Indexes for purging and for the admin pages, made without blocking the tables they are on."""

from __future__ import annotations

from sqlalchemy import text

from aisaas.db.online import (
    create_index_concurrently,
    drop_index_concurrently,
    outside_transaction,
)

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEXES = {
    # Purging
    "private.sessions_expired_idx": "private.sessions (expires_at)",
    "private.sessions_revoked_idx": "private.sessions (revoked_at) where revoked_at is not null",
    "public.reservations_closed_idx": (
        "public.reservations (closed_at) where closed_at is not null"
    ),
    "public.quota_periods_end_idx": "public.quota_periods (period_end)",
    "public.meter_reconciliations_settled_idx": (
        "public.meter_reconciliations (day) where next_check_at is null and drift = settled_tokens"
    ),
    # With every column that is summed: few days differ, which the planner can't know.
    "public.meter_reconciliations_differ_idx": (
        "public.meter_reconciliations (day desc, stripe_customer_id)"
        " include (drift, settled_tokens, checked_at) where drift <> settled_tokens"
    ),
    "public.webhook_failures_resolved_idx": (
        "public.webhook_failures (resolved_at) where resolved_at is not null"
    ),
    "public.entitlement_differences_corrected_idx": (
        "public.entitlement_differences (corrected_at) where corrected_at is not null"
    ),
    # The admin pages
    "public.profiles_joined_idx": "public.profiles (created_at, id)",
    # With the ID, which orders equal addresses.
    "public.profiles_address_idx": "public.profiles (lower(email), id)",
    "public.profiles_plan_idx": "public.profiles (plan, id)",
    "public.profiles_status_idx": "public.profiles (subscription_status, id)",
    "public.profiles_admins_idx": "public.profiles (id) where role = 'admin'",
    "public.profiles_suspended_idx": "public.profiles (id) where suspended_at is not null",
    "private.sessions_seen_idx": "private.sessions (last_seen_at, user_id)",
    # With every column that the usage page reads.
    "public.subscriptions_earned_idx": (
        "public.subscriptions (plan, status)"
        " include (created_at, trial_end, past_due_since, updated_at)"
    ),
    "public.audit_log_newest_idx": "public.audit_log (created_at desc, id desc)",
    "public.audit_log_actor_idx": "public.audit_log (actor, created_at desc, id desc)",
}
# By the trigrams of a text; `{operators}` is where the server has them.
SEARCHED = {
    "public.profiles_address_words_idx": "public.profiles using gin (lower(email) {operators})",
    "public.profiles_name_words_idx": "public.profiles using gin (lower(full_name) {operators})",
    "public.audit_log_words_idx": (
        "public.audit_log using gin ((actor || chr(10) || action || chr(10) || subject || chr(10)"
        " || reason) {operators})"
    ),
}
REPLACED = {
    "public.meter_reconciliations_drift_idx": (
        "public.meter_reconciliations (day desc, stripe_customer_id) where drift <> settled_tokens"
    ),
    "public.profiles_email_idx": "public.profiles (lower(email))",
    "public.audit_log_created_idx": "public.audit_log (created_at desc)",
}
OPERATORS = """
    select quote_ident(n.nspname) || '.gin_trgm_ops'
    from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    where e.extname = 'pg_trgm'
"""


def upgrade() -> None:
    for name, on in INDEXES.items():
        create_index_concurrently(name, on)
    with outside_transaction() as connection:
        operators = connection.execute(text(OPERATORS)).scalar()
    if operators:
        for name, on in SEARCHED.items():
            create_index_concurrently(name, on.format(operators=operators))
    for name in REPLACED:
        drop_index_concurrently(name)


def downgrade() -> None:
    for name, on in REPLACED.items():
        create_index_concurrently(name, on)
    for name in [*SEARCHED, *INDEXES]:
        drop_index_concurrently(name)
