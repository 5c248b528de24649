"""The product's own React components.

They exist for what must not wait for the server: typing, growing text, scrolling, counting down.
Each is a file beside this one; `own_components` copies them into the front end's sources.
"""

# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import reflex as rx

# Exact versions: the markdown that a model writes goes through these.
MARKDOWN = [
    "markdown-it@15.0.3",
    "markdown-it-cjk-friendly@3.0.0",
    "markdown-it-footnote@4.0.0",
    "katex@0.16.47",
    "lowlight@3.3.0",
    "@mermaid-js/tiny@12.0.0",
]


def _library(name: str) -> str:
    return f"$/components/own/{name}.jsx"


class Sending(rx.Component):
    """The sending state of the forms inside it. A user who is no longer signed in is sent to
    `leave`."""

    library = _library("forms")
    tag = "Sending"

    leave: rx.Var[str]

    on_sent: rx.EventHandler[lambda: []]


class RouteForm(rx.Component):
    """A form that posts to a route of ours, inside a `Sending`. Where it was taken its answer is `said`
    instead of the route's, or it leads to `next`; then the element with the id `focus` has the focus."""

    library = _library("forms")
    tag = "RouteForm"

    action: rx.Var[str]
    said: rx.Var[str]
    next: rx.Var[str]
    focus: rx.Var[str]
    waits: rx.Var[bool]


class OtherRoute(rx.Component):
    """A button inside a `RouteForm` that sends its address to another route; Enter doesn't press it."""

    library = _library("forms")
    tag = "OtherRoute"

    action: rx.Var[str]


class FollowingHeading(rx.Component):
    """The first heading of content that replaces other content; it takes the focus."""

    library = _library("forms")
    tag = "FollowingHeading"


class PasswordInput(rx.Component):
    """A password, which can be shown. With a `product` it is a new one, and checked before it is sent."""

    library = _library("forms")
    tag = "PasswordInput"

    name: rx.Var[str]
    label: rx.Var[str]
    auto_complete: rx.Var[str]
    product: rx.Var[str]


class PictureInput(rx.Component):
    """Chooses a picture, makes it small and sends it, inside a `Sending`."""

    library = _library("picture_input")
    tag = "PictureInput"

    action: rx.Var[str]
    said: rx.Var[str]


class Dialog(rx.Component):
    """A button `label`, and the dialog that it opens."""

    library = _library("dialog")
    tag = "Dialog"

    label: rx.Var[str]
    title: rx.Var[str]


class SavedInput(rx.Component):
    """A text input for the server's `value`; `saved` counts how often it was saved."""

    library = _library("saved_input")
    tag = "SavedInput"

    value: rx.Var[str]
    saved: rx.Var[int]
    name: rx.Var[str]
    max_length: rx.Var[int]
    auto_complete: rx.Var[str]
    input_mode: rx.Var[str]


class HumanCheck(rx.Component):
    """The check that a visitor is human, where one is set up."""

    library = _library("captcha")
    tag = "HumanCheck"


class SiteNotice(rx.Component):
    """What the page before this one has done, by the code in the address."""

    library = _library("site_notice")
    tag = "SiteNotice"


class SignOut(rx.Component):
    """The button that ends the session."""

    library = _library("sign_out")
    tag = "SignOut"

    action: rx.Var[str]


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
    thought: rx.Var[Any]
    missing: rx.Var[Any]
    refusal: rx.Var[Any]

    models: rx.Var[Any]
    owner: rx.Var[str]

    on_gap: rx.EventHandler[lambda message_id, offset, thinking: [message_id, offset, thinking]]
    on_edit: rx.EventHandler[lambda message_id, text, nonce: [message_id, text, nonce]]
    on_retry: rx.EventHandler[lambda message_id: [message_id]]
    on_regenerate: rx.EventHandler[lambda message_id, model: [message_id, model]]
    on_continue: rx.EventHandler[lambda message_id: [message_id]]
    on_older: rx.EventHandler[lambda message_id: [message_id]]


class Composer(rx.Component):
    """Where one types, in the conversation of the page's address. Uncontrolled: no key press waits for
    the server."""

    library = _library("composer")
    tag = "Composer"

    owner: rx.Var[str]
    model: rx.Var[str]
    models: rx.Var[Any]
    effort: rx.Var[str]
    limit: rx.Var[int]
    # The last message of the conversation `current`, as the server shows it.
    current: rx.Var[str]
    last: rx.Var[str]
    reply: rx.Var[Any]
    accepted: rx.Var[str]
    refusal: rx.Var[Any]
    errors: rx.Var[Any]

    on_send: rx.EventHandler[
        lambda text, conversation, nonce, model, effort, after: [
            text,
            conversation,
            nonce,
            model,
            effort,
            after,
        ]
    ]
    on_stop: rx.EventHandler[lambda message_id: [message_id]]
    on_model: rx.EventHandler[lambda model: [model]]
    on_effort: rx.EventHandler[lambda effort: [effort]]


class ModelButton(rx.Component):
    """A button elsewhere on the page that chooses `model` in the composer."""

    library = _library("composer")
    tag = "ModelButton"

    model: rx.Var[str]
    label: rx.Var[str]


class Suggestions(rx.Component):
    """Ways to begin; `items` are `{title, text}`, and the text of one goes into the message box."""

    library = _library("suggestions")
    tag = "Suggestions"

    items: rx.Var[Any]


class Conversations(rx.Component):
    """The list of conversations by date, with rename, delete and undo."""

    library = _library("conversations")
    tag = "Conversations"

    owner: rx.Var[str]
    current: rx.Var[str]
    newest: rx.Var[Any]
    older: rx.Var[Any]
    changes: rx.Var[Any]
    undo: rx.Var[Any]
    refusal: rx.Var[Any]

    on_rename: rx.EventHandler[lambda conversation_id, title: [conversation_id, title]]
    on_delete: rx.EventHandler[lambda conversation_id: [conversation_id]]
    on_restore: rx.EventHandler[lambda conversation_id: [conversation_id]]
    on_more: rx.EventHandler[lambda cursor: [cursor]]


class Countdown(rx.Component):
    """When something may be tried again: a clock, or the day where it is far away."""

    library = _library("countdown")
    tag = "Countdown"

    at: rx.Var[str]


class LoadingGate(rx.Component):
    """Its first child once `ready` and `hydrated`, and from then on; before that its second."""

    library = _library("loading_gate")
    tag = "LoadingGate"

    ready: rx.Var[bool]
    hydrated: rx.Var[bool]
    # Where `ready` is in the store, by the state's full name and the var's; and what is never held.
    session: rx.Var[str]
    ready_var: rx.Var[str]
    live: rx.Var[list[str]]
    refusal: rx.Var[Any]

    on_again: rx.EventHandler[lambda: []]


class Offline(rx.Component):
    """A banner while the connection is lost."""

    library = _library("offline")
    tag = "Offline"

    errors: rx.Var[Any]


class PayButton(rx.Component):
    """Leads to where one pays; pressed twice it goes once. With a `title` it asks first, in a dialog."""

    library = _library("pay_button")
    tag = "PayButton"

    label: rx.Var[str]
    while_opening: rx.Var[str]
    title: rx.Var[str]
    arriving: rx.Var[str]
    refusal: rx.Var[Any]

    on_press: rx.EventHandler[lambda: []]


class ConfirmDialog(rx.Component):
    """A button of an admin: asks for the details and the reason before it acts.

    `on_confirm` gets the text of every field inside it by its name, and `subject` as it is. The dialog
    stays, with what was typed, until `acted` has grown.
    """

    library = _library("dialog")
    tag = "ConfirmDialog"

    label: rx.Var[str]
    title: rx.Var[str]
    confirm: rx.Var[str]
    danger: rx.Var[bool]
    subject: rx.Var[Any]
    refusal: rx.Var[Any]
    acted: rx.Var[int]

    on_confirm: rx.EventHandler[lambda form: [form]]


class CheckoutReturn(rx.Component):
    """The message after returning from payment, or while a plan is being changed."""

    library = _library("checkout_return")
    tag = "CheckoutReturn"

    stage: rx.Var[str]
    plan: rx.Var[str]

    on_done: rx.EventHandler[lambda: []]


class NearNotice(rx.Component):
    """A slim notice that allowance or cap are nearly used up; dismissed once for each line."""

    library = _library("near_notice")
    tag = "NearNotice"

    owner: rx.Var[str]
    near: rx.Var[Any]
    href: rx.Var[str]


class Bars(rx.Component):
    """Bars over time, by one measure at a time; inside it is a table of the same numbers."""

    library = _library("bars")
    tag = "Bars"

    chart: rx.Var[Any]


class When(rx.Component):
    """A moment, in the reader's own time zone."""

    library = _library("when")
    tag = "When"

    at: rx.Var[str]
    show: rx.Var[str]
