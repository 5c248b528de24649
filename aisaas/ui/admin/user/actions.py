"""Admin actions on a user: one button each, which asks for the details and a reason."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import reflex as rx

from aisaas.ui.admin import components as shared
from aisaas.ui.admin.user.state import OneUser
from aisaas.ui.admin.user.view import LineView

TOKENS = [
    {"name": "tokens", "label": "Quota tokens", "type": "number", "min": 1, "required": True},
    {
        "name": "expires",
        "label": "Last day",
        "type": "date",
        "hint": "In UTC. Empty: no expiration.",
    },
]
OWN = [
    {"name": "own", "label": "This is my own role. I want to give it up.", "type": "checkbox"},
]
MAILS = [
    {
        "name": "mail",
        "label": "Email",
        "type": "select",
        "value": "reset",
        "options": [
            {"value": "reset", "label": "Password reset link"},
            {"value": "confirmation", "label": "Sign-up confirmation link"},
        ],
        "hint": "If the sign-up is already confirmed, no email is sent.",
    },
]


def buttons() -> rx.Component:
    user = OneUser.user
    return rx.el.div(
        rx.cond(user.suspended_at, _lift(), rx.cond(user.mine, rx.fragment(), _suspend())),
        _ask(
            "Sign out everywhere",
            "Sign out everywhere?",
            OneUser.sign_out,
            "Sign out everywhere",
            "They have to sign in again on every device. Their running replies end.",
        ),
        _ask(
            "Limits",
            "Limits for this account",
            OneUser.set_limits,
            "Save limits",
            "These replace the plan's limits from the next message. With custom quota tokens, extra "
            "usage is off.",
            user.limit_fields,
        ),
        _ask(
            "Grant credits",
            "Grant credits",
            OneUser.grant_credits,
            "Grant credits",
            "Credits are used after the plan's included tokens and are never billed. You can't take "
            "them back.",
            TOKENS,
        ),
        _ask(
            "Send email",
            "Send an email again",
            OneUser.mail,
            "Send",
            "The sign-in server sends it to their address.",
            MAILS,
        ),
        rx.cond(user.admin, _end_admin(), _make_admin()),
        class_name="row-of-buttons",
        role="group",
        aria_label="Actions",
    )


def send_again(mail: LineView) -> rx.Component:
    return shared.ask_first(
        "Send again",
        title="Send this email again?",
        explanation="It's sent with its original content.",
        confirm="Send",
        on_confirm=OneUser.mail_again,
        subject=mail.id,
    )


def _suspend() -> rx.Component:
    return _ask(
        "Suspend",
        "Suspend this account?",
        OneUser.suspend,
        "Suspend",
        "They're signed out everywhere and can't send messages until you unsuspend them. Their "
        "subscription continues. They don't see the reason.",
        danger=True,
    )


def _lift() -> rx.Component:
    return _ask(
        "Unsuspend",
        "Unsuspend this account?",
        OneUser.lift,
        "Unsuspend",
        "They can sign in and send messages again right away.",
    )


def _make_admin() -> rx.Component:
    return _ask(
        "Make admin",
        "Make them an admin?",
        OneUser.make_admin,
        "Make them an admin",
        "They can see every account and do everything you can do.",
        danger=True,
    )


def _end_admin() -> rx.Component:
    """Giving up your own role takes a checkbox."""
    title, confirm = "Remove the admin role?", "Remove role"
    own = "This is your own account. You'll lose access to the admin pages."
    return rx.cond(
        OneUser.user.mine,
        _ask(
            "Give up admin role",
            "Give up your admin role?",
            OneUser.end_admin,
            "Give up role",
            own,
            OWN,
            danger=True,
        ),
        _ask(
            "Remove admin role",
            title,
            OneUser.end_admin,
            confirm,
            "It takes effect with their next click.",
            danger=True,
        ),
    )


def _ask(
    label: str,
    title: str,
    event: Any,
    confirm: str,
    explanation: str,
    fields: Any = (),
    *,
    danger: bool = False,
) -> rx.Component:
    return shared.ask_first(
        label,
        title=title,
        explanation=explanation,
        confirm=confirm,
        on_confirm=event,
        fields=fields,
        subject=OneUser.user.id,
        danger=danger,
    )
