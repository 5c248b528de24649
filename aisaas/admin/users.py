"""Users, as admins look at them and act on them.

Every action needs a reason. The permission check, the action and its line in the audit log are one
transaction, so every action is logged, and only what was done is logged. What a user wrote is never
read here.

Outages: without the database nothing is shown or done, `unavailable`. Without the auth server a
sign-out still takes effect here, which denies access, and the admin sees that; mails are refused.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import people
from aisaas.accounts.admin_access import Act, Actor, admin_read, admin_write
from aisaas.accounts.live import LiveSessions
from aisaas.accounts.people_models import AccountSummary, OwnLimits, Ranking, Role, Search
from aisaas.accounts.ports import Identity
from aisaas.accounts.store import HeldTokens, names_of, revoke_all_of
from aisaas.admin.audit import user_in
from aisaas.admin.credits import grant_in
from aisaas.admin.stripe_pages import StripePages
from aisaas.admin.users_models import (
    AccountMail,
    Done,
    Found,
    FoundPage,
    Money,
    OneUser,
    SignedOut,
)
from aisaas.audit import store as audit_store
from aisaas.billing.ledger import usage_reports, user_reports
from aisaas.billing.ledger.usage_models import Span, UserAmount
from aisaas.billing.ledger.user_reports import UserCost
from aisaas.billing.notices import user_reports as mail_reports
from aisaas.billing.notices.user_reports import SentMail
from aisaas.billing.plans.periods import running
from aisaas.billing.plans.terms import Plan
from aisaas.billing.reservations import store as reservations_store
from aisaas.billing.reservations import user_reports as reservation_reports
from aisaas.billing.reservations.models import Allowance
from aisaas.billing.reservations.quota import Quota
from aisaas.billing.subscriptions import user_reports as subscription_reports
from aisaas.billing.subscriptions.checkout import HIGHEST_CAP_USD, cents
from aisaas.billing.subscriptions.user_reports import HeldSubscription
from aisaas.chat import failed_replies
from aisaas.db.engine import fetch_in
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, AuthError, DependencyError, NotFound, Unavailable

NO_SUCH_USER = "That user doesn't exist."
# Catch typos: a limit beyond these would be no limit at all.
MOST_REQUESTS_PER_MINUTE = 100_000
MOST_REQUESTS_PER_DAY = 10_000_000
MOST_TOKENS = 1_000_000_000_000
MOST_PARALLEL_REPLIES = 1_000
# Audit log lines shown for a user.
LINES = 30


@dataclass(frozen=True, slots=True)
class UsersParts:
    """What actions on users need besides the database."""

    live: LiveSessions
    identity: Identity
    quota: Quota
    # None: payments are off.
    stripe: StripePages | None
    # The address of this site, for the links in mails.
    url: str
    # Whether a mail server is configured, so that billing mails are sent.
    mails_go_out: bool


class Users:
    def __init__(self, service: ServiceDatabase, parts: UsersParts) -> None:
        self._service = service
        self._parts = parts

    # Looking

    async def find(self, actor: Actor, search: Search) -> FoundPage:
        """A page of matching users; a page number beyond the last shows the last.

        Raises:
            NotFound: not an admin.
            Unavailable.
        """
        async with self._reading(actor) as session:
            ranking = await _ranking(session, search)
            page = await people.find(session, search, ranking)
            used = await user_reports.lately(session, [person.id for person in page.people])
        found = [Found(**asdict(person), **asdict(used[person.id])) for person in page.people]
        return FoundPage(found, page.page, page.pages, page.total)

    async def look(self, actor: Actor, user_id: UUID) -> OneUser:
        """Everything about one user.

        Raises:
            NotFound: no such user, or not an admin.
            Unavailable.
        """
        async with self._reading(actor) as session:
            found = _known(await people.summary(session, user_id))
            plan, limits = self._parts.quota.plan_of(found), self._parts.quota.limits_of(found)
            allowance = await fetch_in(
                session, reservations_store.allowance(user_id, running(found), limits)
            )
            spent = await user_reports.spent(session, user_id, allowance.period_key)
            today, days = await user_reports.days(session, user_id)
            return OneUser(
                standing=found,
                plan=plan,
                allowance=allowance,
                money=_money(found, plan, allowance, spent),
                today=today,
                days=days,
                refused=await reservation_reports.refused(session, user_id),
                sessions=await people.live_sessions(session, user_id),
                subscriptions=self._with_pages(
                    await subscription_reports.subscriptions(session, user_id)
                ),
                customer_page=self._customer_page(found),
                failed=await failed_replies.failed_replies(session, user_id),
                credits=await reservation_reports.credits_of(session, user_id),
                mails=await mail_reports.mails(session, user_id),
                done=await _done(session, user_id),
                mails_go_out=self._parts.mails_go_out,
            )

    async def admins(self, actor: Actor) -> Sequence[AccountSummary]:
        """All users with the role, including suspended ones."""
        async with self._reading(actor) as session:
            return await people.admins(session)

    async def named(self, actor: Actor, whom: str) -> UUID:
        """The account with this address or id.

        Raises:
            NotFound, Unavailable.
        """
        async with self._reading(actor) as session:
            found = await people.named(session, whom.strip())
        if found is None:
            raise NotFound("No account has that email address or ID.")
        return found

    # Actions. All of them may raise NotFound (not an admin, or no such user), ActionInvalid and
    # Unavailable; then nothing has changed.

    async def suspend(self, actor: Actor, user_id: UUID, *, reason: str) -> SignedOut:
        """Refuse their new calls; running ones end within a minute (jobs/end_replies).

        They are signed out everywhere. They may sign in again to see their bills and conversations,
        but can't send anything. Only admins see the reason.
        """
        async with self._acting(actor, user_id, "user.suspend", reason, roles=True) as act:
            if _is(actor, user_id):
                raise ActionInvalid("You can't suspend yourself. Ask another admin.")
            if act.user.suspended_at is not None:
                raise ActionInvalid("This account is already suspended.")
            if act.user.role == "admin" and not await people.other_admins(act.session, user_id):
                raise ActionInvalid("This is the last active admin.")
            await people.suspend(act.session, user_id, act.reason)
            held = await revoke_all_of(act.session, user_id)
            await act.note(
                _suspension(None, sessions=len(held)), _suspension(act.reason, sessions=0)
            )
        return await self._signed_out(held)

    async def lift(self, actor: Actor, user_id: UUID, *, reason: str) -> None:
        """End a suspension."""
        async with self._acting(actor, user_id, "user.lift", reason) as act:
            if act.user.suspended_at is None:
                raise ActionInvalid("This account isn't suspended.")
            await people.suspend(act.session, user_id, None)
            await act.note(_suspension(act.user.suspended_reason or ""), _suspension(None))

    async def sign_out(self, actor: Actor, user_id: UUID, *, reason: str) -> SignedOut:
        """End all their sessions, here and at the auth server."""
        async with self._acting(actor, user_id, "user.sign_out", reason) as act:
            held = await revoke_all_of(act.session, user_id)
            await act.note({"sessions": len(held)}, {"sessions": 0})
        return await self._signed_out(held)

    async def set_limits(
        self, actor: Actor, user_id: UUID, limits: OwnLimits, *, reason: str
    ) -> None:
        """Limits of this account in place of its plan's. With own tokens there is no extra usage."""
        _check(limits)
        if limits.highest_cap_usd is not None:
            limits = replace(limits, highest_cap_usd=cents(limits.highest_cap_usd))
        async with self._acting(actor, user_id, "user.set_limits", reason) as act:
            before = _limits_of(act.user)
            if limits == before:
                raise ActionInvalid("Those are already the account's limits.")
            await people.set_limits(act.session, user_id, limits)
            await act.note(_to_dict(before), _to_dict(limits))

    async def grant_credits(
        self,
        actor: Actor,
        user_id: UUID,
        tokens: int,
        *,
        reason: str,
        expires_at: datetime | None = None,
    ) -> UUID:
        """Give quota tokens beyond those in their plan; returns the grant's id. See `admin.credits`."""
        async with self._acting(actor, user_id, "credits.grant", reason) as act:
            try:
                return await grant_in(
                    act.session,
                    user_id,
                    tokens,
                    actor=act.actor,
                    reason=act.reason,
                    expires_at=expires_at,
                )
            except ValueError as error:
                raise ActionInvalid(f"Not granted: {error}.") from error

    async def set_role(
        self, actor: Actor, user_id: UUID, role: Role, *, reason: str, even_own: bool = False
    ) -> bool:
        """Make a user an admin, or no longer one; False when the role was theirs already.

        It takes effect with their next call: each reads the role. The last admin stays one.

        Args:
            even_own: the admin has confirmed the change of their own role.
        """
        async with self._acting(actor, user_id, "role.set", reason, roles=True) as act:
            if act.user.role == role:
                return False
            if role == "user":
                if _is(actor, user_id) and not even_own:
                    raise ActionInvalid("That's your own role. Check the box to confirm.")
                if not await people.other_admins(act.session, user_id):
                    raise ActionInvalid(
                        "This is the last active admin. Make someone else an admin first."
                    )
            await people.set_role(act.session, user_id, role)
            await act.note({"role": act.user.role}, {"role": role})
            return True

    async def mail(self, actor: Actor, user_id: UUID, mail: AccountMail, *, reason: str) -> None:
        """Have the auth server mail them a link: to choose a new password, or to confirm a sign-up.

        It is recorded before the request: no transaction waits for another server. Only the auth
        server knows whether a sign-up is still unconfirmed, and it doesn't say.
        """
        async with self._acting(actor, user_id, "user.mail", reason) as act:
            await act.note(None, {"mail": mail})
            email = act.user.email
        identity, url = self._parts.identity, self._parts.url
        try:
            if mail == "reset":
                await identity.mail_reset(email, redirect_to=f"{url}/reset", trusted=True)
            else:
                await identity.mail_confirmation(email, redirect_to=f"{url}/chat", trusted=True)
        except AuthError as error:
            raise ActionInvalid(f"The sign-in server refused: {error.sentence}") from error
        except DependencyError as error:
            raise Unavailable(
                "The sign-in server isn't responding, so no email was sent."
            ) from error

    async def mail_notice_again(
        self, actor: Actor, user_id: UUID, notice_id: UUID, *, reason: str
    ) -> SentMail:
        """Resend a billing mail with its original values; returns the new one."""
        async with self._acting(actor, user_id, "user.mail", reason) as act:
            if not self._parts.mails_go_out:
                raise ActionInvalid("No mail server is set up, so billing emails can't be sent.")
            state = await mail_reports.state_of_mail(act.session, user_id, notice_id)
            if state is None:
                raise NotFound("That email doesn't exist.")
            if state == "pending":
                raise ActionInvalid("That email is already waiting to be sent.")
            again = await mail_reports.mail_again(act.session, user_id, notice_id)
            assert again is not None
            await act.note(
                {"notice": str(notice_id), "state": state},
                {"notice": str(again.id), "mail": again.kind},
            )
            return again

    # Their parts

    def _reading(self, actor: Actor) -> AbstractAsyncContextManager[AsyncSession]:
        # A role that a tab still holds proves nothing.
        return admin_read(self._service, actor, held=True)

    @asynccontextmanager
    async def _acting(
        self, actor: Actor, user_id: UUID, action: str, reason: str, *, roles: bool = False
    ) -> AsyncGenerator[_Act]:
        """One transaction of a permitted admin, on an existing user."""

        async def locks(session: AsyncSession) -> None:
            if roles:
                # Before any row: the lock's holder may need rows that others hold.
                await people.lock_roles(session)
            await people.lock(session, [user_id, *_own(actor)])

        async with admin_write(self._service, actor, reason, first=locks) as act:
            user = _known(await people.summary(act.session, user_id))
            yield _Act(act, action, user)

    async def _signed_out(self, held: Sequence[HeldTokens]) -> SignedOut:
        return SignedOut(len(held), await self._parts.live.end_everywhere_there(held))

    def _with_pages(self, held: Sequence[HeldSubscription]) -> Sequence[HeldSubscription]:
        stripe = self._parts.stripe
        if stripe is None:
            return held
        return [
            replace(each, page=stripe.subscription(each.id, of=each.customer_id)) for each in held
        ]

    def _customer_page(self, found: AccountSummary) -> str | None:
        stripe, customer = self._parts.stripe, found.metered_customer
        return stripe.customer(customer) if stripe and customer else None


@dataclass(frozen=True, slots=True)
class _Act:
    """An action in progress: its actor and reason, its name, and the user as they are now."""

    act: Act
    action: str
    user: AccountSummary

    @property
    def session(self) -> AsyncSession:
        return self.act.session

    @property
    def actor(self) -> str:
        return self.act.actor

    @property
    def reason(self) -> str:
        return self.act.reason

    async def note(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        """The line in the audit log."""
        await self.act.note(self.action, subject_of(self.user.id), before=before, after=after)


async def _ranking(session: AsyncSession, search: Search) -> Ranking | None:
    """The ranking for a sort by recent usage; None for a sort by the account's own columns."""
    by: UserAmount | None = next((it for it in get_args(UserAmount) if it == search.sort), None)
    if by is None:
        return None
    today = await usage_reports.today(session)
    span = Span(today - timedelta(days=user_reports.DAYS - 1), today)
    who = people.fitting(search)
    # A search finds few users, so sum only theirs.
    among = who.ids if search.text.strip() else None
    relation, values = usage_reports.ranking(
        by, span, direction="down" if search.down else "up", among=among
    )
    return Ranking(relation, values)


async def _done(session: AsyncSession, user_id: UUID) -> Sequence[Done]:
    """What admins did to this user, with the addresses of admins who still have an account."""
    entries = await audit_store.entries_about(session, subject_of(user_id), limit=LINES)
    actors = {entry.actor: found for entry in entries if (found := user_in(entry.actor))}
    names = await names_of(session, set(actors.values()))
    return [
        Done(
            id=entry.id,
            actor=entry.actor,
            actor_email=names.get(actors[entry.actor]) if entry.actor in actors else None,
            action=entry.action,
            before=entry.before,
            after=entry.after,
            reason=entry.reason,
            at=entry.created_at,
        )
        for entry in entries
    ]


def subject_of(user_id: UUID) -> str:
    """The audit log's name for a user as the subject of an action."""
    return f"user:{user_id}"


def _known(found: AccountSummary | None) -> AccountSummary:
    if found is None:
        raise NotFound(NO_SUCH_USER)
    return found


def _is(actor: Actor, user_id: UUID) -> bool:
    return user_id in _own(actor)


def _own(actor: Actor) -> Sequence[UUID]:
    return [] if isinstance(actor, str) else [actor.user_id]


def _suspension(reason: str | None, **more: int) -> dict[str, Any]:
    return {"suspended": reason is not None, "reason": reason, **more}


def _limits_of(user: AccountSummary) -> OwnLimits:
    return OwnLimits(
        user.requests_per_minute,
        user.requests_per_day,
        user.tokens_per_month,
        user.parallel_replies,
        user.highest_cap_usd,
    )


def _to_dict(limits: OwnLimits) -> dict[str, Any]:
    """As JSON values."""
    highest = limits.highest_cap_usd
    return asdict(limits) | {"highest_cap_usd": None if highest is None else f"{highest:.2f}"}


def _check(limits: OwnLimits) -> None:
    for what, value, least, most in (
        ("Requests per minute", limits.requests_per_minute, 0, MOST_REQUESTS_PER_MINUTE),
        ("Requests per day", limits.requests_per_day, 0, MOST_REQUESTS_PER_DAY),
        ("Tokens a month", limits.tokens_per_month, 0, MOST_TOKENS),
        ("Replies at a time", limits.parallel_replies, 1, MOST_PARALLEL_REPLIES),
    ):
        if value is not None and not least <= value <= most:
            raise ActionInvalid(
                f"{what}: enter a number from {least} to {most:,} or leave it empty."
            )
    usd = limits.highest_cap_usd
    if usd is not None and not (usd.is_finite() and 0 <= usd <= HIGHEST_CAP_USD):
        raise ActionInvalid(
            f"Highest spending cap: enter USD from 0 to {HIGHEST_CAP_USD:,} or leave it empty."
        )


def _money(user: AccountSummary, plan: Plan, allowance: Allowance, spent: UserCost) -> Money:
    price, status = plan.price, user.subscription_status
    charged = price is not None and user.subscription is not None and status != "trialing"
    return Money(
        base_usd=price.base_usd if price and charged else Decimal(0),
        overage_usd=cents(allowance.billed_usd) if price and charged else Decimal(0),
        cost_usd=spent.period_usd,
        ever_cost_usd=spent.ever_usd,
        owed=charged and status == "past_due",
    )
