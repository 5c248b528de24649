"""One user's page: what it shows, and the admins' actions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import reflex as rx

from aisaas import formats
from aisaas.accounts.models import Principal
from aisaas.admin.users_models import SignedOut
from aisaas.errors import NotFound
from aisaas.ui import notices, payloads, routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.shell import Area, admin_of, entered
from aisaas.ui.admin.user import forms
from aisaas.ui.admin.user.view import OneUserView, one_user_view
from aisaas.wiring import services

Form = dict[str, Any]


class OneUser(rx.State):
    ready: bool = False
    user: OneUserView = OneUserView()

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        self.ready, self.user = False, OneUserView()
        principal = await entered(self)
        try:
            user_id = payloads.identifier(routes.admin_user_in(self.router.url.path))
            await _show(self, principal, user_id)
        except NotFound:
            # No user has this id: show "not found".
            (await self.get_state(Area)).nowhere = True
            return
        self.ready = True

    @rx.event
    @notices.handle_errors
    async def suspend(self, form: Form) -> None:
        principal, user_id = await admin_of(self), forms.user(form)
        ended = await services().users.suspend(principal, user_id, reason=forms.reason(form))
        await _done(self, principal, user_id, f"Suspended. {_signed_out(ended)}")

    @rx.event
    @notices.handle_errors
    async def lift(self, form: Form) -> None:
        principal, user_id = await admin_of(self), forms.user(form)
        await services().users.lift(principal, user_id, reason=forms.reason(form))
        await _done(self, principal, user_id, "Account unsuspended.")

    @rx.event
    @notices.handle_errors
    async def sign_out(self, form: Form) -> None:
        principal, user_id = await admin_of(self), forms.user(form)
        ended = await services().users.sign_out(principal, user_id, reason=forms.reason(form))
        await _done(self, principal, user_id, _signed_out(ended))

    @rx.event
    @notices.handle_errors
    async def set_limits(self, form: Form) -> None:
        principal, user_id = await admin_of(self), forms.user(form)
        limits = forms.limits(form)
        await services().users.set_limits(principal, user_id, limits, reason=forms.reason(form))
        await _done(self, principal, user_id, "Limits saved. They apply from the next message.")

    @rx.event
    @notices.handle_errors
    async def grant_credits(self, form: Form) -> None:
        principal, user_id, tokens = await admin_of(self), forms.user(form), forms.tokens(form)
        end, why = forms.last_day(form), forms.reason(form)
        await services().users.grant_credits(principal, user_id, tokens, reason=why, expires_at=end)
        await _done(
            self, principal, user_id, f"You granted {formats.count(tokens, 'quota token')}."
        )

    @rx.event
    @notices.handle_errors
    async def make_admin(self, form: Form) -> None:
        principal, user_id = await admin_of(self), forms.user(form)
        users, why = services().users, forms.reason(form)
        await users.set_role(principal, user_id, "admin", reason=why)
        await _done(self, principal, user_id, "They're now an admin.")

    @rx.event
    @notices.handle_errors
    async def end_admin(self, form: Form) -> None:
        principal, user_id = await admin_of(self), forms.user(form)
        users, why = services().users, forms.reason(form)
        await users.set_role(principal, user_id, "user", reason=why, even_own=forms.own(form))
        # An admin who gave up their own role sees "not found" from here on.
        await _done(self, await admin_of(self), user_id, "They're no longer an admin.")

    @rx.event
    @notices.handle_errors
    async def mail(self, form: Form) -> None:
        principal, user_id = await admin_of(self), forms.user(form)
        users, why = services().users, forms.reason(form)
        await users.mail(principal, user_id, forms.mail(form), reason=why)
        await _done(self, principal, user_id, "The sign-in server will email the link.")

    @rx.event
    @notices.handle_errors
    async def mail_again(self, form: Form) -> None:
        principal, user_id = await admin_of(self), payloads.identifier(self.user.id)
        users, why = services().users, forms.reason(form)
        await users.mail_notice_again(principal, user_id, forms.notice(form), reason=why)
        await _done(self, principal, user_id, "The email will be sent again.")


async def _show(shown: OneUser, principal: Principal, user_id: UUID) -> None:
    found = await services().users.look(principal, user_id)
    labels = services().catalogue.labels
    shown.user = one_user_view(found, looking=principal.user_id, models=labels)


async def _done(shown: OneUser, principal: Principal, user_id: UUID, said: str) -> None:
    """Confirm first, then reload: the action is done even if the reload fails."""
    await shell.done(shown, said)
    await _show(shown, principal, user_id)


def _signed_out(ended: SignedOut) -> str:
    if ended.sessions == 0:
        return "They had no active sessions."
    places = "1 session was" if ended.sessions == 1 else f"{ended.sessions} sessions were"
    late = "" if ended.confirmed else " The sign-in server didn't confirm it."
    return f"{places} ended.{late}"
