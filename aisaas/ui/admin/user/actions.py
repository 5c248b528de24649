"""What admins do to a user: a button each, that asks what exactly, and why."""

from __future__ import annotations

from typing import Any

import reflex as rx

from aisaas.ui.admin import components as shared
from aisaas.ui.admin.user.state import OneUser
from aisaas.ui.admin.user.view import LineView

TOKENS = [
    {"name": "tokens", "label": "Tokens", "type": "number", "min": 1, "required": True},
    {
        "name": "expires",
        "label": "Last day",
        "type": "date",
        "hint": "In UTC. Empty: they last until they are used.",
    },
]
OWN = [
    {"name": "own", "label": "It is my own role, and I mean it", "type": "checkbox"},
]
MAILS = [
    {
        "name": "mail",
        "label": "Mail",
        "type": "select",
        "value": "reset",
        "options": [
            {"value": "reset", "label": "A link to choose a new password"},
            {"value": "confirmation", "label": "The link that confirms their sign-up"},
        ],
        "hint": "A sign-up that is confirmed already gets no mail.",
    },
]


def buttons() -> rx.Component:
    user = OneUser.user
    return rx.el.div(
        rx.cond(user.suspended_at, _lift(), rx.cond(user.mine, rx.fragment(), _suspend())),
        _ask(
            "Sign out everywhere",
            "Sign them out everywhere?",
            OneUser.sign_out,
            "Sign them out",
            "Every device has to sign in again, and replies that run there end.",
        ),
        _ask(
            "Limits",
            "Limits of this account",
            OneUser.set_limits,
            "Set the limits",
            "They hold in place of the plan's, from the next message on. With own tokens nothing "
            "may be used beyond them.",
            user.limit_fields,
        ),
        _ask(
            "Give credits",
            "Give credits",
            OneUser.grant_credits,
            "Give them",
            "Used once what the plan includes is used up, and never billed. They can't be taken "
            "back.",
            TOKENS,
        ),
        _ask(
            "Send a mail",
            "Send a mail once more",
            OneUser.mail,
            "Send it",
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
        title="Send this mail once more?",
        explanation="With what it said then.",
        confirm="Send it",
        on_confirm=OneUser.mail_again,
        subject=mail.id,
    )


def _suspend() -> rx.Component:
    return _ask(
        "Suspend",
        "Suspend this account?",
        OneUser.suspend,
        "Suspend",
        "They are signed out everywhere. What they send is refused until the suspension is lifted; "
        "their subscription goes on. They aren't told the reason.",
        danger=True,
    )


def _lift() -> rx.Component:
    return _ask(
        "Lift the suspension",
        "Lift the suspension?",
        OneUser.lift,
        "Lift it",
        "They can sign in and send messages again at once.",
    )


def _make_admin() -> rx.Component:
    return _ask(
        "Make admin",
        "Make them an admin?",
        OneUser.make_admin,
        "Make them an admin",
        "They see every account, and may do all that you may do.",
        danger=True,
    )


def _end_admin() -> rx.Component:
    """One's own role isn't given up by a slip."""
    title, confirm = "Let them be an admin no longer?", "Take the role away"
    own = "This is your own account: you lose this page with the role."
    return rx.cond(
        OneUser.user.mine,
        _ask(
            "Give up my role",
            "Give up your own role?",
            OneUser.end_admin,
            "Give it up",
            own,
            OWN,
            danger=True,
        ),
        _ask(
            "End admin role",
            title,
            OneUser.end_admin,
            confirm,
            "It counts from their next click on.",
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
