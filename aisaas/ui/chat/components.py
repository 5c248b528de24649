"""The parts of the chat page, wired to its state."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import dataclasses

import reflex as rx
from reflex_components_core.core.banner import connect_errors

from aisaas.ui import layout, routes
from aisaas.ui.browser import Composer, Conversations, ModelButton, Suggestions, Transcript
from aisaas.ui.chat.state import Chat, Sidebar
from aisaas.ui.chat.stream import Tail
from aisaas.ui.notices import Notices
from aisaas.ui.session import Session


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A way to begin: `title` on the button, `text` in the message box."""

    title: str
    text: str


SUGGESTIONS = (
    Suggestion(
        "Explain a concept",
        "Explain how compound interest works, with an example for $1,000 over 10 years.",
    ),
    Suggestion(
        "Write some code",
        "Write a Python function that finds duplicate files in a folder by their contents.",
    ),
    Suggestion(
        "Draft an email",
        "Draft a short, friendly email that asks a customer to pay an overdue invoice.",
    ),
    Suggestion(
        "Compare options",
        "Compare SQLite and PostgreSQL for a small web app. Use a table.",
    ),
)


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
        thought=Tail.t,
        missing=Tail.g,
        refusal=Notices.refusal,
        models=Chat.models,
        owner=Session.owner,
        on_gap=Tail.fill_gap,
        on_edit=Chat.edit,
        on_retry=Chat.retry,
        on_regenerate=Chat.regenerate,
        on_continue=Chat.go_on,
        on_older=Chat.load_earlier,
    )


def heading() -> rx.Component:
    """The page's title for readers; who sees the page has it in the list."""
    return rx.el.h1(rx.cond(Chat.title, Chat.title, "Chat"), class_name="visually-hidden")


def welcome() -> rx.Component:
    return rx.el.div(
        rx.el.h2("What can I help with?"),
        rx.el.p("Pick a suggestion to edit, or write your own message."),
        Suggestions.create(items=[dataclasses.asdict(each) for each in SUGGESTIONS]),
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
        effort=Chat.effort,
        limit=Chat.limit,
        current=Chat.current,
        last=Chat.last,
        reply=Chat.reply,
        accepted=Chat.accepted,
        refusal=Notices.refusal,
        errors=connect_errors,
        on_send=Chat.send,
        on_stop=Chat.stop,
        on_model=Chat.choose_model,
        on_effort=Chat.choose_effort,
    )


def retired() -> rx.Component:
    """Says that the conversation's model is retired, and which one to continue with."""
    return rx.el.div(
        rx.cond(
            Chat.retired.sentence,
            rx.el.div(
                rx.el.p(
                    Chat.retired.sentence,
                    rx.cond(
                        Chat.retired.plans,
                        rx.fragment(" ", rx.el.a("See plans", href=routes.BILLING)),
                    ),
                    class_name="alert-text",
                ),
                rx.cond(
                    Chat.retired.successor,
                    ModelButton.create(model=Chat.retired.successor, label=Chat.retired.action),
                ),
                class_name="near near-with-button",
            ),
        ),
        role="status",
        class_name="near-frame",
    )


def skeleton() -> rx.Component:
    """The page's outline until the user is known."""
    line = rx.el.div(class_name="skeleton", aria_hidden="true")
    return rx.el.div(
        rx.el.div(*([line] * 5), class_name="sidebar skeleton-column"),
        rx.el.div(
            layout.bar_outline(routes.CHAT),
            layout.main(
                rx.el.h1("Chat", class_name="visually-hidden"),
                rx.el.div(
                    layout.needs_scripts(),
                    *([line] * 4),
                    class_name="skeleton-column skeleton-transcript",
                ),
                class_name="chat-main",
            ),
            class_name="chat-body",
        ),
        class_name="chat-page",
        aria_busy="true",
    )
