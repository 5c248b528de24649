"""The parts of the chat page, wired to its state."""

from __future__ import annotations

import reflex as rx
from reflex_components_core.core.banner import connect_errors

from aisaas.ui.browser import Composer, Conversations, Transcript
from aisaas.ui.chat.state import Chat, Sidebar
from aisaas.ui.chat.stream import Tail
from aisaas.ui.notices import Notices
from aisaas.ui.session import Session


def conversations() -> rx.Component:
    return Conversations.create(
        owner=Session.owner,
        current=Chat.current,
        newest=Sidebar.newest,
        older=Sidebar.older,
        changes=Sidebar.changes,
        undo=Sidebar.undo,
        refusal=Notices.refusal,
        on_rename=Sidebar.rename,
        on_delete=Sidebar.delete,
        on_restore=Sidebar.restore,
        on_more=Sidebar.show_older,
    )


def transcript() -> rx.Component:
    return Transcript.create(
        welcome(),
        conversation=Chat.current,
        page=Chat.page,
        question=Chat.question,
        reply=Chat.reply,
        segment=Tail.s,
        missing=Tail.g,
        refusal=Notices.refusal,
        on_gap=Tail.fill_gap,
        on_retry=Chat.retry,
        on_older=Chat.load_earlier,
    )


def welcome() -> rx.Component:
    return rx.el.div(
        rx.el.h1("What are you thinking about?"),
        rx.el.p(
            "Ask, paste, sketch. You see what each reply takes, and you can stop one at any time; "
            "only what was produced counts."
        ),
        rx.cond(
            Chat.model.startswith("demo"),
            rx.el.p(
                "This demo model gives canned answers. Send “help” to see what it can do.",
                class_name="hint",
            ),
        ),
        rx.cond(
            Session.admin,
            rx.el.p("You're an admin because yours is the first account here.", class_name="hint"),
        ),
        class_name="welcome",
    )


def composer() -> rx.Component:
    return Composer.create(
        owner=Session.owner,
        model=Chat.model,
        models=Chat.models,
        limit=Chat.limit,
        reply=Chat.reply,
        accepted=Chat.accepted,
        refusal=Notices.refusal,
        errors=connect_errors,
        on_send=Chat.send,
        on_stop=Chat.stop,
        on_model=Chat.choose_model,
    )


def skeleton() -> rx.Component:
    """The page's outline while it is not known who is asking."""
    line = rx.el.div(class_name="skeleton")
    return rx.el.div(
        rx.el.div(*([line] * 5), class_name="sidebar skeleton-column"),
        rx.el.div(
            rx.el.div(class_name="bar"),
            rx.el.div(*([line] * 4), class_name="skeleton-column skeleton-transcript"),
            class_name="chat-body",
        ),
        class_name="chat-page",
        aria_busy="true",
        aria_label="Loading",
    )
