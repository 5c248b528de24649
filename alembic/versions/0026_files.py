"""Functions, triggers, policies, and grants stand in files of their own from here on."""

from __future__ import annotations

from aisaas.db.schema_files import apply

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

FUNCTIONS = {
    "functions/claim_meter_events.sql": "41abb5ce09d5",
    "functions/claim_usage.sql": "25a72edaaeb2",
    "functions/close_reservation.sql": "a452c4ab5469",
    "functions/note_removed_account.sql": "32654b32e9c1",
    "functions/profile_follows_email.sql": "9b96b13f9f5f",
    "functions/profile_for_new_user.sql": "5b506be5f3ae",
    "functions/require_profile.sql": "1b714ee36cd6",
    "functions/reserve.sql": "23e0791d8255",
    "functions/sum_extra_usage.sql": "f171b7fc9938",
    "functions/sum_usage.sql": "6265cab508d7",
    "functions/sum_usage_by_day.sql": "172537734f2a",
    "functions/touch_updated_at.sql": "e6a6b940b39f",
}
# As the migrations before have made them. Applying them again would only lock each table once more.
MADE_BEFORE = {
    "tables/auth.users.sql": "712fde3ddcb7",
    "tables/private.added_models.sql": "be1c9c996289",
    "tables/private.job_failures.sql": "e4941dfde13d",
    "tables/private.kill_switches.sql": "4bc96a4ce6ad",
    "tables/private.metering.sql": "6d00a89151d0",
    "tables/private.model_overrides.sql": "1c55333abe5e",
    "tables/private.price_versions.sql": "22ee1d293142",
    "tables/private.provider_circuits.sql": "b76eaf538ef5",
    "tables/private.provider_errors.sql": "99cf0d19ce65",
    "tables/private.provider_health.sql": "30f226e5ccf7",
    "tables/private.removed_accounts.sql": "c9051dd799a9",
    "tables/private.sessions.sql": "376f5dd5948d",
    "tables/private.spending_alerts.sql": "103a4f067515",
    "tables/private.spending_caps.sql": "2bb58a88b83f",
    "tables/private.subscription_tasks.sql": "d92b033b4b66",
    "tables/private.token_ratios.sql": "e343251e8c4b",
    "tables/private.usage_by_user.sql": "43381bda21e6",
    "tables/private.usage_losses.sql": "07fb33934278",
    "tables/private.usage_totals.sql": "e90c37aaf842",
    "tables/private.write_offs.sql": "a04b655898b3",
    "tables/public.audit_log.sql": "9f58eaac9a8a",
    "tables/public.billing_notices.sql": "447192388427",
    "tables/public.conversations.sql": "e3bbacd4e60d",
    "tables/public.credit_grants.sql": "a2de97992269",
    "tables/public.credit_uses.sql": "958217408e17",
    "tables/public.entitlement_differences.sql": "03797fc9d67b",
    "tables/public.messages.sql": "32734ab681c0",
    "tables/public.meter_reconciliations.sql": "f9c724531983",
    "tables/public.processed_webhook_events.sql": "d3fe5296c814",
    "tables/public.profile_pictures.sql": "a7c2e8220d6f",
    "tables/public.profiles.sql": "ffd9766dc188",
    "tables/public.quota_periods.sql": "908433784fd3",
    "tables/public.refusals.sql": "5310b2c032a6",
    "tables/public.reservations.sql": "8e15602edb9f",
    "tables/public.spend_days.sql": "ff005770179a",
    "tables/public.subscriptions.sql": "803c66a045d2",
    "tables/public.usage_days.sql": "f8348ffb94ef",
    "tables/public.usage_outbox.sql": "1b45a14ba597",
    "tables/public.usage_records.sql": "e5dd82e695ab",
    "tables/public.webhook_failures.sql": "6fe1385ae4f8",
}


def upgrade() -> None:
    apply(FUNCTIONS)


def downgrade() -> None:
    pass
