"""Mails to be written, recorded together with the fact they are about.

Nothing is mailed where a fact is detected: a transaction may roll back, and a mail server may hang.
Invariant: `key` names the fact, not the event that reported it, so the same fact is mailed once.
A notice without a user is for the admins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.relations import HELD

# To the user
TRIAL_WILL_END = "trial_will_end"
PAYMENT_FAILED = "payment_failed"
PAYMENT_ACTION_REQUIRED = "payment_action_required"
SUBSCRIPTION_ENDED = "subscription_ended"
DUPLICATE_ENDED = "duplicate_ended"
# To the admins
UNKNOWN_PRICE = "unknown_price"
DUPLICATE_FOUND = "duplicate_found"
REFUNDED = "refunded"
DISPUTE_OPENED = "dispute_opened"
DISPUTE_CLOSED = "dispute_closed"
METER_PROBLEM = "meter_problem"
METERING_LATE = "metering_late"
KEY_REFUSED = "key_refused"
MODEL_GONE = "model_gone"
SPENDING_NEAR = "spending_near"
SPENDING_REFUSED = "spending_refused"
USAGE_LOST = "usage_lost"
WRITTEN_OFF = "written_off"


async def add_notice(
    session: AsyncSession,
    user_id: UUID | None,
    kind: str,
    key: str,
    values: Mapping[str, object],
) -> bool:
    """Record it in the caller's transaction; False when this fact was recorded before, or when the
    account no longer exists: a call may settle after its account is gone.

    Args:
        user_id: the recipient; None means the admins.
        key: the fact, like `payment_failed:in_1:2`.
        values: what the mail says. JSON: times as ISO 8601, amounts in a currency's smallest unit.
    """
    row = await session.execute(
        text(
            f"""
            with known as ({HELD})
            insert into public.billing_notices (user_id, kind, key, values)
            select cast(:user_id as uuid), :kind, :key, cast(:values as jsonb)
            where cast(:user_id as uuid) is null or exists (select 1 from known)
            on conflict (key) do nothing returning 1
            """  # noqa: S608  # a statement of ours
        ),
        {
            "users": [] if user_id is None else [user_id],
            "user_id": user_id,
            "kind": kind,
            "key": key,
            "values": json.dumps(values),
        },
    )
    return row.first() is not None
