"""Users, as the list shows them. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from aisaas.accounts.people import MOST_COUNTED, PAGE
from aisaas.admin.users_models import Found, FoundPage
from aisaas.formats import sum_usd
from aisaas.settings.plans import PLANS as SOLD_PLANS
from aisaas.ui import routes
from aisaas.ui.admin.view import OrderView, PagerView, pager_view

# Key and name of what the list can be narrowed to; an empty key is everybody.
STANDINGS = (
    ("", "All"),
    ("owing", "Past due"),
    ("suspended", "Suspended"),
    ("admins", "Admins"),
)
PLANS = (("", "All plans"), *((plan.id, plan.label) for plan in SOLD_PLANS))
STATUSES = {
    "free": "",
    "active": "",
    "trialing": "Trial",
    "past_due": "Past due",
    "cancelled": "Canceled",
}


@dataclasses.dataclass(frozen=True)
class UserView:
    """A line of the list. Use is that of the last 30 days; moments are ISO 8601."""

    id: str
    email: str
    name: str
    href: str
    plan: str
    status: str
    admin: bool
    suspended: bool
    owing: bool
    requests: str
    tokens: str
    cost: str
    seen_at: str
    joined_at: str


@dataclasses.dataclass(frozen=True)
class UsersView:
    """`plan` and `standing` are keys of PLANS and STANDINGS."""

    rows: list[UserView] = dataclasses.field(default_factory=list[UserView])
    pages: PagerView = dataclasses.field(default_factory=PagerView)
    order: OrderView = dataclasses.field(default_factory=lambda: OrderView("joined"))
    plan: str = ""
    standing: str = ""


def users_view(
    found: FoundPage, order: OrderView, plan: str, standing: str, plans: Mapping[str, str]
) -> UsersView:
    pages = pager_view(found.page, PAGE, found.total, len(found.users))
    if found.total >= MOST_COUNTED:
        pages = dataclasses.replace(pages, words=f"{pages.words} or more")
    rows = [_user(user, plans) for user in found.users]
    return UsersView(rows, pages, order, plan, standing)


def _user(user: Found, plans: Mapping[str, str]) -> UserView:
    return UserView(
        id=str(user.id),
        email=user.email,
        name=user.full_name,
        href=routes.admin_user(user.id),
        plan=plans.get(user.plan, user.plan),
        status=STATUSES.get(user.subscription_status, user.subscription_status),
        admin=user.role == "admin",
        suspended=user.suspended,
        owing=user.subscription_status == "past_due",
        requests=f"{user.requests:,}",
        tokens=f"{user.quota_tokens:,}",
        cost=sum_usd(user.cost_usd),
        seen_at=user.last_seen_at.isoformat() if user.last_seen_at else "",
        joined_at=user.created_at.isoformat(),
    )
