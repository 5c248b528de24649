"""The chat page: list, transcript, composer."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.chat import components
from aisaas.ui.chat.state import Chat
from aisaas.ui.settings import APP_NAME


def title() -> rx.Var[str]:
    """Of the browser's tab: the conversation's own, once it has one."""
    return rx.cond(Chat.title, f"{Chat.title} · {APP_NAME}", f"Chat · {APP_NAME}")


def page() -> rx.Component:
    return layout.gate(
        rx.el.div(
            components.conversations(),
            rx.el.div(
                layout.app_bar(routes.CHAT),
                layout.main(
                    components.heading(),
                    components.transcript(),
                    rx.el.div(
                        layout.near_notice(),
                        layout.refusal(),
                        components.retired(),
                        components.composer(),
                        class_name="composer-column",
                    ),
                    class_name="chat-main",
                ),
                class_name="chat-body",
            ),
            class_name="chat-page",
        ),
        components.skeleton(),
        of=Chat,
    )
