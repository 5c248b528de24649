"""Forms that post to our routes: their fields, and their sending state.

`Sending` (in `browser`) goes around one or more of them, and around whatever shows the vars of this module.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
from typing import Any

import reflex as rx
from reflex_base.event import EventChain
from reflex_base.vars import VarData
from reflex_base.vars.function import FunctionVar
from reflex_components_core.el.elements.inline import A

from aisaas.ui.browser import HumanCheck, PasswordInput
from aisaas.ui.settings import APP_NAME
from aisaas.ui.site import ADDRESS_HOOK, Problem, browser_var, site

_LIBRARY = "$/components/own/forms.jsx"
_HOOK = ("const sending = useSending()", "useSending", _LIBRARY)
ONE_MOMENT = "One moment…"
HINT = "8 to 72 characters. A short sentence works well. Accented and non-Latin letters count as two or more."


@dataclasses.dataclass(frozen=True)
class Answer:
    """`confirm` says that a mail has to be answered first."""

    message: str
    confirm: bool


busy: Any = browser_var("sending.busy", bool, _HOOK)
problem: Any = browser_var("sending.problem", Problem, _HOOK)
# The same; before anything was sent, what the page's address says.
first_problem: Any = browser_var(
    "sending.problem ?? (sending.attempt ? null : address.problem)", Problem, _HOOK, ADDRESS_HOOK
)
answer: Any = browser_var("sending.answer", Answer, _HOOK)
# How many answers there were.
taken: Any = browser_var("sending.taken", int, _HOOK)
# An answer's message, while there is nothing else to show.
said: Any = browser_var(
    "sending.busy || sending.problem ? '' : (sending.answer?.message ?? '')", str, _HOOK
)
# The route that answered, and the address that was sent to it.
action: Any = browser_var("sending.action", str, _HOOK)
sent_to: Any = browser_var("sending.email", str, _HOOK)
seconds_left: Any = browser_var(
    "left",
    int,
    _HOOK,
    ("const left = useSecondsLeft(sending.taken)", "useSecondsLeft", _LIBRARY),
)
# Where the test mailbox shows what was sent to the form's address.
mailbox_query: Any = browser_var("'?to=' + encodeURIComponent(sending.email)", str, _HOOK)
# Both are for `on_click`.
back = browser_var("sending.back", FunctionVar, _HOOK).to(FunctionVar, EventChain)
forget_tab = rx.Var("forgetTab", _var_data=VarData(imports={_LIBRARY: ["forgetTab"]})).to(
    FunctionVar, EventChain
)


def alert(shown: Any = problem, *more: rx.Component) -> rx.Component:
    """A problem, and what can be done about it."""
    return rx.cond(
        shown,
        rx.el.div(
            rx.el.p(shown.message),
            *more,
            class_name="alert",
            role="alert",
            custom_attrs={"data-code": shown.code},
        ),
    )


def status(shown: Any = said, words: Any = None) -> rx.Component:
    """In the page before it says anything, or it would not be announced. `words` are said instead of what
    is `shown`."""
    return rx.el.div(
        rx.cond(shown, rx.el.p(shown if words is None else words, class_name="note")),
        class_name="said",
        role="status",
    )


def hidden(name: str, value: Any) -> rx.Component:
    return rx.el.input(type="hidden", name=name, value=value, read_only=True)


def labelled(label: str, name: str, hint: str, control: rx.Component) -> rx.Component:
    return rx.el.div(
        rx.el.label(label, html_for=name),
        control,
        rx.el.p(hint, id=f"{name}-hint", class_name="hint") if hint else rx.fragment(),
        class_name="field",
    )


def field(label: str, *, name: str, id: str = "", hint: str = "", **props: Any) -> rx.Component:  # noqa: A002
    own = id or f"field-{name}"
    described = {"aria-describedby": f"{own}-hint"} if hint else {}
    props = {"required": True} | props
    control = rx.el.input(id=own, name=name, custom_attrs=described, **props)
    return labelled(label, own, hint, control)


def email(label: str = "Email", **props: Any) -> rx.Component:
    props = {"auto_complete": "username"} | props
    return field(label, name="email", type="email", input_mode="email", max_length=254, **props)


def password(
    label: str = "Current password",
    *,
    name: str = "current_password",
    id: str = "",  # noqa: A002
) -> rx.Component:
    own = id or f"field-{name}"
    control = PasswordInput.create(id=own, name=name, label=label, auto_complete="current-password")
    return labelled(label, own, "", control)


def new_password(
    label: str = "New password",
    *,
    name: str = "new_password",
    id: str = "",  # noqa: A002
) -> rx.Component:
    own = id or f"field-{name}"
    control = PasswordInput.create(
        id=own,
        name=name,
        label=label,
        auto_complete="new-password",
        product=APP_NAME,
        custom_attrs={"aria-describedby": f"{own}-hint"},
    )
    return labelled(label, own, HINT, control)


def username(value: Any) -> rx.Component:
    """For password managers: whose password this form changes."""
    return rx.el.input(
        class_name="visually-hidden",
        type="email",
        name="username",
        auto_complete="username",
        value=value,
        read_only=True,
        tab_index=-1,
        aria_hidden="true",
    )


def human_check() -> rx.Component:
    return HumanCheck.create()


def submit(label: Any, *, while_busy: str = ONE_MOMENT, small: bool = False) -> rx.Component:
    return rx.el.button(
        rx.cond(busy, while_busy, label),
        type="submit",
        class_name="button" if small else "button button-primary button-wide",
        custom_attrs={"aria-disabled": busy},
    )


def link(label: Any, href: Any, class_name: Any = "", **props: Any) -> rx.Component:
    """Loads the page that it leads to: the router's link would keep this tab's state."""
    return A.create(label, href=href, class_name=class_name, **props)


def mailbox_link(label: str, class_name: str, query: Any = "") -> rx.Component:
    """To the mails of an install that sends none."""
    return rx.cond(
        site.mailbox_url,
        A.create(
            label,
            href=site.mailbox_url + query,
            target="_blank",
            rel="noreferrer",
            class_name=class_name,
        ),
    )
