"""Functions and tables say the same in plainer comments."""

from __future__ import annotations

from aisaas.db.schema_files import apply

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

FILES = {
    "functions/claim_meter_events.sql": "98296e1dfdf2",
    "functions/claim_usage.sql": "b268912e1325",
    "functions/close_reservation.sql": "a24c1a199c77",
    "functions/reserve.sql": "66a9c1619c81",
    "functions/sum_usage.sql": "a51ad71f1eb7",
    "tables/private.loss_alerts.sql": "661f5f830c4d",
    "tables/private.spending_alerts.sql": "474988f53525",
    "tables/public.billing_notices.sql": "636608cb8a46",
}


def upgrade() -> None:
    apply(FILES)


def downgrade() -> None:
    """The files say what they said before."""
