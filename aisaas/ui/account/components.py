"""The cards of the pages for getting in."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
from typing import Any

import reflex as rx

from aisaas.ui import forms, routes
from aisaas.ui.account.state import Recovery
from aisaas.ui.browser import FollowingHeading, OtherRoute, RouteForm, Sending
from aisaas.ui.site import address, browser_var, built, site

SIGN_IN = "/api/session/sign-in"
SIGN_UP = "/api/session/sign-up"
MAGIC_LINK = "/api/session/magic-link"
RESEND = "/api/session/resend"
RESET = "/api/session/reset"
CONFIRM = "/api/session/confirm"
ACCOUNT = "/api/account/"
OAUTH = "/api/session/oauth/"
NO_SIGN_UP = {
    "invitation": "You need an invitation to sign up. If you have one, open the link in the email.",
    "closed": "Sign-up is closed. If you have an account, you can still sign in.",
}


def card(
    title: Any, *children: Any, lead: Any = None, follows: bool = False, class_name: Any = ""
) -> rx.Component:
    """One that `follows` another in the same place has the focus. `class_name` says for whom it is,
    before scripts run."""
    heading = FollowingHeading.create(title) if follows else rx.el.h1(title, tab_index=-1)
    return rx.el.section(
        heading,
        *((_lead(lead),) if lead is not None else ()),
        *children,
        class_name=rx.Var.create("auth-card ") + class_name,
    )


def _lead(words: Any) -> rx.Component:
    return rx.el.p(words, class_name="auth-lead")


def form(action: Any, *children: Any, **props: Any) -> rx.Component:
    return RouteForm.create(*children, action=action, class_name="auth-form", **props)


def other(*children: Any, class_name: str = "") -> rx.Component:
    return rx.el.p(*children, class_name=f"auth-other {class_name}".strip())


def _target() -> rx.Component:
    return forms.hidden("redirectTo", address.target)


def mailbox(again: Any) -> rx.Component:
    """Says that an email is on its way to the form's address; the route `again` resends it."""
    waits = forms.seconds_left > 0
    return card(
        "Check your email",
        form(
            again,
            rx.el.p(forms.answer.message),
            rx.el.p(forms.sent_to, class_name="mail-address"),
            forms.mailbox_link(
                "Open the test mailbox", "button button-primary button-wide", forms.mailbox_query
            ),
            forms.alert(),
            forms.status((forms.taken > 1) & (forms.said != ""), "We sent it again."),
            forms.hidden("email", forms.sent_to),
            _target(),
            forms.human_check(),
            rx.cond(
                site.mailbox_url,
                rx.fragment(),
                rx.el.p(
                    "No email? It can take a minute. Check your spam folder, too.",
                    class_name="hint",
                ),
            ),
            rx.el.button(
                rx.cond(waits, rx.fragment("Resend in ", forms.seconds_left, " s"), "Resend email"),
                type="submit",
                class_name="button button-wide",
                custom_attrs={"aria-disabled": forms.busy | waits},
            ),
            other(
                rx.el.button(
                    "Use a different email address",
                    type="button",
                    class_name="link-button",
                    on_click=forms.back,
                )
            ),
            said=forms.answer.message,
            waits=waits,
        ),
        follows=True,
    )


def sign_in() -> rx.Component:
    resend = rx.cond(
        forms.first_problem.code == "email_not_confirmed",
        OtherRoute.create("Resend the email", action=RESEND, class_name="link-button"),
    )
    shown = card(
        "Welcome back",
        form(
            SIGN_IN,
            forms.alert(forms.first_problem, resend),
            forms.status(rx.cond(forms.problem, "", address.notice)),
            _target(),
            forms.email(),
            forms.password("Password", name="password"),
            forms.human_check(),
            forms.submit("Sign in"),
            rx.el.button(
                "Email me a sign-in link",
                type="submit",
                class_name="button button-wide",
                custom_attrs={
                    "formAction": MAGIC_LINK,
                    "formNoValidate": True,
                    "aria-disabled": forms.busy,
                },
            ),
            _providers(),
            other(forms.link("Forgot your password?", routes.RESET)),
            rx.cond(
                site.sign_up_mode == "open",
                other(
                    "New here? ",
                    forms.link("Create an account", routes.SIGNUP + address.onward),
                    class_name="if-open",
                ),
            ),
        ),
        lead="Sign in to pick up where you left off.",
    )
    return Sending.create(rx.cond(forms.answer, mailbox(forms.action), shown))


def _providers() -> rx.Component:
    return rx.cond(
        site.providers,
        rx.fragment(
            rx.el.p("or", class_name="divider"),
            rx.el.ul(rx.foreach(site.providers, _provider), class_name="providers"),
        ),
    )


def _provider(provider: Any) -> rx.Component:
    return rx.el.li(
        forms.link(
            rx.fragment("Continue with ", provider.label),
            OAUTH + provider.name + address.onward,
            "button button-wide",
            on_click=forms.forget_tab,
        ),
        key=provider.name,
    )


def sign_up() -> rx.Component:
    shown = card(
        "Create your account",
        form(
            SIGN_UP,
            forms.alert(forms.first_problem),
            _target(),
            forms.field(
                "Full name", name="full_name", type="text", auto_complete="name", max_length=120
            ),
            forms.email(),
            forms.new_password("Password", name="password"),
            forms.human_check(),
            forms.submit("Create account", while_busy="Creating your account…"),
            _providers(),
            _to_sign_in(),
        ),
        lead="Start for free. No credit card required.",
        class_name=rx.cond(built, "if-open", ""),
    )
    return rx.fragment(
        rx.cond(
            built | (site.sign_up_mode == "open"),
            Sending.create(rx.cond(forms.answer, mailbox(RESEND), shown)),
        ),
        *(
            rx.cond(built | (site.sign_up_mode == mode), _no_sign_up(mode, words))
            for mode, words in NO_SIGN_UP.items()
        ),
    )


def _no_sign_up(mode: str, words: str) -> rx.Component:
    name = rx.cond(built, f"if-{mode}", "")
    return card("Create your account", _to_sign_in(), lead=words, class_name=name)


def _to_sign_in() -> rx.Component:
    return other("Already have an account? ", forms.link("Sign in", routes.LOGIN + address.onward))


def reset() -> rx.Component:
    """Requests an email, or, after its link, a new password."""
    chooses = address.chooses
    return rx.fragment(
        rx.cond(built | ~chooses, ask_for_reset(class_name=rx.cond(built, "unless-choosing", ""))),
        rx.cond(
            built | chooses,
            _choose(),
        ),
    )


def _choose() -> Any:
    return rx.match(
        Recovery.standing,
        ("nobody", ask_for_reset(over=True)),
        ("chooses", choose_password(knows=False)),
        ("signed_in", choose_password(knows=True)),
        card(
            "Choose a new password",
            rx.el.div(class_name="skeleton", aria_busy="true"),
            class_name=rx.cond(built, "if-choosing", ""),
        ),
    )


def ask_for_reset(*, over: bool = False, class_name: Any = "") -> rx.Component:
    """`over` says that a link came too late."""
    expired = "Password reset links work once, for an hour. Request a new one below."
    shown = card(
        "This link has expired" if over else "Reset your password",
        form(
            RESET,
            forms.alert(forms.first_problem),
            forms.status(rx.cond(forms.problem, "", address.notice)),
            forms.email(),
            forms.human_check(),
            forms.submit("Send reset link"),
            other(forms.link("Back to sign in", routes.LOGIN)),
        ),
        lead=expired if over else "We'll email you a link to reset your password.",
        follows=over,
        class_name=class_name,
    )
    return Sending.create(rx.cond(forms.answer, mailbox(RESET), shown))


def choose_password(*, knows: bool) -> rx.Component:
    """Also asks for the current password if the user `knows` it, meaning without an email link."""
    shown = card(
        "Choose a new password",
        form(
            f"{ACCOUNT}password",
            forms.alert(
                forms.problem,
                rx.cond(
                    forms.problem.code == "unauthenticated",
                    forms.link("Request a new link", routes.RESET),
                ),
            ),
            forms.username(Recovery.email),
            *((forms.password(),) if knows else ()),
            forms.new_password(),
            *((forms.human_check(),) if knows else ()),
            forms.submit("Save password"),
            *((other(forms.link("Forgot your current password?", routes.RESET)),) if knows else ()),
            next=f"{routes.CHAT}?notice=password_changed",
        ),
        lead="You'll be signed out of all other sessions.",
    )
    if knows:
        return Sending.create(shown)
    # The period in which an email link suffices has expired meanwhile.
    late = forms.problem.code == "current_password_wrong"
    return Sending.create(rx.cond(late, ask_for_reset(over=True), shown))


@dataclasses.dataclass(frozen=True)
class MailLink:
    """`type` is "" of a link that isn't whole, and "…" before it was read."""

    token: str
    type: str
    target: str


mail_link: Any = browser_var(
    "link", MailLink, ("const link = useMailLink()", "useMailLink", "$/components/own/mail_link.js")
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a kind of mail asks for, and where to go when its link is over."""

    title: str
    lead: str
    submit: str
    href: str
    way_on: str


_SIGN_IN = Kind(
    "Sign in",
    "Use this link to sign in. It works once.",
    "Sign in",
    routes.LOGIN,
    "Request a new link",
)
KINDS = {
    "signup": Kind(
        "Welcome",
        "Confirm your email address to finish creating your account.",
        "Confirm email address",
        routes.LOGIN,
        "Sign in or resend the email",
    ),
    "magiclink": _SIGN_IN,
    "email": _SIGN_IN,
    "recovery": Kind(
        "Choose a new password",
        "You asked to reset your password.",
        "Choose a new password",
        routes.RESET,
        "Ask for a new link",
    ),
    "invite": Kind(
        "You're invited",
        "Accept the invitation, then choose a password.",
        "Accept invitation",
        routes.LOGIN,
        "Sign in",
    ),
    "email_change": Kind(
        "Confirm your new email address",
        "To change your address, open the links we sent to your old and new addresses.",
        "Confirm change",
        routes.SETTINGS,
        "Go to settings",
    ),
}


def confirm() -> Any:
    """An email link leads here, and opening it changes nothing: mail scanners open links too."""
    return rx.match(
        mail_link.type,
        ("…", card("One moment…")),
        *((kind, _confirm(words)) for kind, words in KINDS.items()),
        card(
            "This link doesn't work",
            rx.el.div(
                rx.el.div(
                    rx.el.p("That link is incomplete. Open it from the email again."),
                    class_name="alert",
                    role="alert",
                    custom_attrs={"data-code": "link_incomplete"},
                ),
                other(forms.link("Sign in", routes.LOGIN)),
                class_name="auth-form",
            ),
        ),
    )


def _confirm(kind: Kind) -> rx.Component:
    over = forms.problem & (forms.problem.code != "unavailable")
    shown = card(
        kind.title,
        form(
            CONFIRM,
            rx.cond(over, rx.fragment(), _lead(kind.lead)),
            forms.alert(),
            forms.hidden("token_hash", mail_link.token),
            forms.hidden("type", mail_link.type),
            forms.hidden("redirectTo", mail_link.target),
            rx.cond(
                over,
                forms.link(kind.way_on, kind.href, "button button-wide"),
                forms.submit(kind.submit),
            ),
        ),
    )
    half_done = card(
        "One more step",
        other(forms.link("Go to settings", routes.SETTINGS)),
        lead=forms.answer.message,
        follows=True,
    )
    return Sending.create(rx.cond(forms.answer, half_done, shown))
