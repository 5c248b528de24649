"""The product's own React components, and how they get into the build.

They exist for what must not wait for the server: typing, growing text, scrolling, counting down.
Each is a file beside this one; `OwnComponents` copies them into the front end's sources, so that
none is served as a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import reflex as rx
from reflex.plugins import Plugin
from reflex_base.plugins import CommonContext

from aisaas.ui import theme

_HERE = Path(__file__).parent
_FOLDER = "components/own"
# Exact versions: the markdown that a model writes goes through these.
MARKDOWN = ["streamdown@2.7.1", "@streamdown/math@1.0.3", "katex@0.16.47", "lowlight@3.3.0"]


class OwnComponents(Plugin):
    """Puts the JSX files and the stylesheet among the front end's sources."""

    def get_static_assets(
        self, **context: Unpack[CommonContext]
    ) -> Sequence[tuple[Path, str | bytes]]:
        scripts = [
            (Path(_FOLDER) / path.name, path.read_text("utf-8")) for path in _HERE.glob("*.jsx")
        ]
        return [*scripts, (Path("styles/theme.css"), theme.STYLESHEET.read_text("utf-8"))]

    def get_stylesheet_paths(self, **context: Unpack[CommonContext]) -> Sequence[str]:
        return ["./theme.css"]


def _library(name: str) -> str:
    return f"$/{_FOLDER}/{name}.jsx"


class AuthForm(rx.Component):
    """A native form to one of our routes, sent by fetch when scripts run."""

    library = _library("auth_form")
    tag = "AuthForm"

    mode: rx.Var[str]


class Transcript(rx.Component):
    """The messages of one conversation. Keeps the whole text of each; the server sends pieces."""

    library = _library("transcript")
    tag = "Transcript"
    lib_dependencies: list[str] = MARKDOWN

    conversation: rx.Var[str]
    page: rx.Var[Any]
    question: rx.Var[Any]
    reply: rx.Var[Any]
    segment: rx.Var[Any]
    missing: rx.Var[Any]

    on_gap: rx.EventHandler[lambda message_id, offset: [message_id, offset]]
    on_retry: rx.EventHandler[lambda message_id: [message_id]]
    on_older: rx.EventHandler[lambda message_id: [message_id]]


class Composer(rx.Component):
    """Where one types. Uncontrolled: no key press waits for the server."""

    library = _library("composer")
    tag = "Composer"

    conversation: rx.Var[str]
    owner: rx.Var[str]
    model: rx.Var[str]
    models: rx.Var[Any]
    reply: rx.Var[Any]
    accepted: rx.Var[str]
    refusal: rx.Var[Any]

    on_send: rx.EventHandler[lambda text, conversation, nonce: [text, conversation, nonce]]
    on_stop: rx.EventHandler[lambda message_id: [message_id]]
    on_model: rx.EventHandler[lambda model: [model]]


class Conversations(rx.Component):
    """The list of conversations by date, with rename, delete and undo."""

    library = _library("conversations")
    tag = "Conversations"

    current: rx.Var[str]
    items: rx.Var[Any]
    undo: rx.Var[Any]

    on_rename: rx.EventHandler[lambda conversation_id, title: [conversation_id, title]]
    on_delete: rx.EventHandler[lambda conversation_id: [conversation_id]]
    on_restore: rx.EventHandler[lambda conversation_id: [conversation_id]]


class Refusal(rx.Component):
    """An expected "no": the sentence, and a clock when there is a time to come back."""

    library = _library("refusal")
    tag = "Refusal"

    refusal: rx.Var[Any]
    on_dismiss: rx.EventHandler[lambda: []]


class Offline(rx.Component):
    """A banner while the connection is gone."""

    library = _library("offline")
    tag = "Offline"

    errors: rx.Var[Any]


class When(rx.Component):
    """A moment, in the reader's own time zone."""

    library = _library("when")
    tag = "When"

    at: rx.Var[str]
    show: rx.Var[str]
