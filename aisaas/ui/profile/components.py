"""The parts of the settings page."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import reflex as rx
from reflex.style import color_mode, set_color_mode

from aisaas.ui import forms, layout, routes
from aisaas.ui.browser import Dialog, PictureInput, RouteForm, SavedInput, Sending
from aisaas.ui.profile.state import Profile
from aisaas.ui.profile.view import SessionView
from aisaas.ui.session import Session

ACCOUNT = "/api/account/"
END_SESSION = "/api/session/end"
SIGN_OUT = "/api/session/sign-out"
SIGNED_OUT_EVERYWHERE = f"{routes.LOGIN}?notice=signed_out_everywhere"
# A user who was signed out meanwhile signs in and comes back.
LEAVE = f"{routes.LOGIN}?error=unauthenticated&redirectTo={routes.SETTINGS}"
THEMES = (("system", "System"), ("light", "Light"), ("dark", "Dark"))


def profile() -> rx.Component:
    return _card("Profile", _picture(), _name())


def _picture() -> rx.Component:
    """Chosen, cropped and sent at once."""
    has_one = Session.picture != ""
    chooser = rx.el.label(
        rx.cond(
            forms.busy,
            forms.ONE_MOMENT,
            rx.cond(has_one, "Change picture", "Choose a picture"),
        ),
        PictureInput.create(
            id="picture", action=f"{ACCOUNT}picture", said="Your picture has been changed."
        ),
        class_name="button button-small file-button",
        custom_attrs={"aria-disabled": forms.busy},
    )
    remove = RouteForm.create(
        rx.el.button("Remove", type="submit", class_name="text-button"),
        action=f"{ACCOUNT}picture/remove",
        said="Your picture has been removed.",
        focus="picture",
    )
    return Sending.create(
        rx.el.div(
            rx.el.div(
                rx.cond(
                    has_one,
                    rx.el.img(
                        src=Session.picture, alt="Your picture", class_name="avatar avatar-large"
                    ),
                    rx.el.span(
                        Session.initials, class_name="avatar avatar-large", aria_hidden="true"
                    ),
                ),
                rx.el.div(chooser, rx.cond(has_one, remove), class_name="picture-actions"),
                class_name="picture-row",
            ),
            forms.alert(),
            forms.status(),
            rx.el.p(
                "Your picture is cropped to a square and resized before it's uploaded.",
                class_name="hint",
            ),
            class_name="settings-form",
        ),
        leave=LEAVE,
        on_sent=Profile.load,
    )


def _name() -> rx.Component:
    return rx.el.form(
        forms.labelled(
            "Name",
            "field-full_name",
            "Shown in your account menu. If empty, your email address is shown.",
            SavedInput.create(
                id="field-full_name",
                name="full_name",
                value=Profile.full_name,
                saved=Profile.saved,
                auto_complete="name",
                max_length=120,
                custom_attrs={"aria-describedby": "field-full_name-hint"},
            ),
        ),
        rx.el.button("Save name", type="submit", class_name="button"),
        forms.status(Profile.saved > 0, "Saved."),
        on_submit=_rename,
        class_name="settings-form",
    )


def _rename(form: rx.Var[dict[str, str]]) -> Any:
    return Profile.rename(form.to(dict)["full_name"])


def address() -> rx.Component:
    confirms = forms.answer.confirm & (forms.said != "")
    return _card(
        "Email",
        _sending(
            f"{ACCOUNT}address",
            rx.el.p("You sign in with ", rx.el.strong(Session.email, class_name="mail-address")),
            forms.alert(),
            forms.status(
                confirms,
                rx.fragment(
                    "We sent links to ",
                    forms.sent_to,
                    " and ",
                    Session.email,
                    ". Open both to finish the change.",
                ),
            ),
            rx.cond(
                confirms,
                forms.mailbox_link("Open the test mailbox", "button button-small"),
            ),
            forms.email(
                "New email",
                id="new-email",
                auto_complete="email",
                hint="You may need to confirm the change from both addresses.",
            ),
            forms.password(id="address-password"),
            forms.human_check(),
            forms.submit("Change email address", small=True),
        ),
    )


def password() -> rx.Component:
    return _card(
        "Password",
        _sending(
            f"{ACCOUNT}password",
            forms.alert(),
            forms.status(),
            forms.username(Session.email),
            forms.password(id="password-password"),
            forms.new_password(id="new-password"),
            rx.el.p(
                "Changing your password signs out all other sessions. If you don't have a password yet or forgot it, ",
                forms.link("email yourself a reset link", routes.RESET),
                ".",
                class_name="hint",
            ),
            forms.human_check(),
            forms.submit("Change password", small=True),
        ),
    )


def _sending(action: str, *children: rx.Component) -> rx.Component:
    form = RouteForm.create(*children, action=action, class_name="settings-form")
    return Sending.create(form, leave=LEAVE, on_sent=Profile.load)


def sessions() -> rx.Component:
    others = rx.el.button(
        "Sign out other sessions",
        type="submit",
        class_name="button button-small",
        custom_attrs={"aria-disabled": forms.busy},
    )
    return _card(
        "Sessions",
        Sending.create(
            rx.el.div(
                rx.el.ul(
                    rx.foreach(Profile.sessions, _session),
                    id="sessions",
                    tab_index=-1,
                    class_name="sessions",
                    aria_label="Your sessions",
                ),
                forms.alert(),
                forms.status(),
                rx.el.div(
                    rx.cond(
                        rx.Var.create(Profile.sessions).length() > 1,
                        RouteForm.create(
                            forms.hidden("scope", "others"),
                            others,
                            action=SIGN_OUT,
                            focus="sessions",
                        ),
                    ),
                    _sign_out_everywhere(),
                    class_name="row-of-buttons",
                ),
                class_name="settings-form",
            ),
            leave=LEAVE,
            on_sent=Profile.load,
        ),
    )


def _session(session: SessionView) -> rx.Component:
    sign_out = RouteForm.create(
        forms.hidden("session", session.id),
        rx.el.button(
            "Sign out",
            type="submit",
            class_name="button button-small",
            custom_attrs={
                "aria-label": f"Sign out {session.device}",
                "aria-disabled": forms.busy,
            },
        ),
        action=END_SESSION,
        said=f"Signed out of {session.device}.",
        # The pressed button vanishes with its line.
        focus="sessions",
    )
    here = rx.el.span("This device", class_name="tag")
    used = rx.fragment(" · last used ", layout.when(session.seen_at, "ago"))
    return rx.el.li(
        rx.el.div(
            rx.el.p(session.device, rx.cond(session.current, here), class_name="session-device"),
            rx.el.p(
                session.opened,
                " · ",
                layout.when(session.opened_at),
                rx.cond(session.current, rx.fragment(), used),
                class_name="quiet",
            ),
        ),
        rx.cond(session.current, rx.fragment(), sign_out),
        key=session.id,
    )


def _sign_out_everywhere() -> rx.Component:
    title = "Sign out everywhere"
    return Dialog.create(
        rx.el.p("You'll be signed out of every session, including this one."),
        RouteForm.create(
            forms.hidden("scope", "everywhere"),
            rx.el.div(
                layout.close_dialog("Cancel"),
                rx.el.button(title, type="submit", class_name="button button-danger"),
                class_name="row-of-buttons",
            ),
            action=SIGN_OUT,
            next=SIGNED_OUT_EVERYWHERE,
        ),
        label=title,
        title=f"{title}?",
        class_name="button button-small button-danger",
    )


def data() -> rx.Component:
    return _card(
        "Your data",
        rx.el.p(
            "Download your account and all your conversations as one JSON Lines file.",
            class_name="quiet",
        ),
        rx.el.a("Export your data", href=routes.EXPORT, download=True, class_name="button"),
    )


def colours() -> rx.Component:
    return _card(
        "Appearance",
        rx.el.fieldset(
            rx.el.legend("Appearance in this browser", class_name="visually-hidden"),
            *(_theme(value, label) for value, label in THEMES),
            class_name="choices",
        ),
    )


def _theme(value: str, label: str) -> rx.Component:
    return rx.el.label(
        rx.el.input(
            type="radio",
            name="appearance",
            value=value,
            checked=color_mode == value,
            on_change=set_color_mode(value),  # pyright: ignore[reportArgumentType]
        ),
        label,
        class_name="choice",
    )


def _card(title: str, *children: rx.Component) -> rx.Component:
    return rx.el.section(rx.el.h2(title), *children, class_name="card settings-card")
