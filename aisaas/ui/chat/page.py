"""The chat page: list, transcript, composer."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.chat import components
from aisaas.ui.chat.state import Chat


def page() -> rx.Component:
    return layout.gate(
        rx.el.div(
            components.conversations(),
            rx.el.div(
                layout.app_bar(),
                rx.el.main(
                    components.transcript(),
                    rx.el.div(
                        layout.near_notice(),
                        layout.refusal(),
                        components.composer(),
                        class_name="composer-column",
                    ),
                    id="content",
                    class_name="chat-main",
                ),
                class_name="chat-body",
            ),
            class_name="chat-page",
        ),
        components.skeleton(),
        of=Chat,
    )
