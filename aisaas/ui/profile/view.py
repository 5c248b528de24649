"""From a user's account data to what their settings show. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from aisaas.accounts.models import OpenedBy, OwnSession

OPENED: dict[OpenedBy, str] = {
    "sign_up": "Signed up",
    "password": "Signed in with password",
    "confirmation": "Confirmed email address",
    "magic_link": "Signed in with an email link",
    "recovery": "Reset password",
    "invite": "Accepted an invitation",
    "email_change": "Confirmed a new email address",
    "provider": "Signed in with a provider",
}


@dataclasses.dataclass(frozen=True)
class SessionView:
    """A sign-in; times are ISO 8601."""

    id: str
    device: str
    opened: str
    opened_at: str
    seen_at: str
    current: bool


def session_views(sessions: Sequence[OwnSession]) -> list[SessionView]:
    """This device first, then the one used last."""
    ordered = sorted(sessions, key=lambda session: not session.current)
    return [
        SessionView(
            id=str(session.id),
            device=session.device,
            opened=OPENED[session.opened_by],
            opened_at=session.created_at.isoformat(),
            seen_at=session.last_seen_at.isoformat(),
            current=session.current,
        )
        for session in ordered
    ]
