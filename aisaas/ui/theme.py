"""The look: one stylesheet with every token and named style, and what goes into each page's head.

Pages and components name styles by class; no module holds a styling dictionary. Tokens are CSS
custom properties in `theme.css`, each with its light and its dark value side by side.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import reflex as rx
from reflex.style import toggle_color_mode

from aisaas.api.paths import BUILD_ORIGIN
from aisaas.ui.settings import APP_NAME

FONT = "/fonts/inter-5.3.0-latin.woff2"
# Reflex makes a style of `media`, so here it is an attribute by its name.
HEAD: list[rx.Component] = [
    rx.el.link(rel="icon", href="/favicon.svg", type="image/svg+xml"),
    rx.el.link(rel="apple-touch-icon", href="/icons/touch.png"),
    rx.el.link(rel="manifest", href="/manifest.webmanifest"),
    rx.el.link(
        rel="preload",
        href=FONT,
        custom_attrs={"as": "font", "crossOrigin": "anonymous"},
        type="font/woff2",
    ),
    rx.el.meta(name="color-scheme", content="light dark"),
    rx.el.meta(
        name="theme-color",
        content="#fbfaf8",
        custom_attrs={"media": "(prefers-color-scheme: light)"},
    ),
    rx.el.meta(
        name="theme-color",
        content="#161615",
        custom_attrs={"media": "(prefers-color-scheme: dark)"},
    ),
    rx.el.meta(custom_attrs={"property": "og:type"}, content="website"),
    rx.el.meta(custom_attrs={"property": "og:site_name"}, content=APP_NAME),
    rx.el.meta(name="twitter:card", content="summary_large_image"),
]
PREVIEW = f"{BUILD_ORIGIN}/images/preview.png"


def color_mode_button() -> rx.Component:
    """Light or dark; until it is pressed the system decides."""
    return rx.el.button(
        rx.el.span(class_name="icon icon-contrast", aria_hidden="true"),
        type="button",
        class_name="icon-button",
        # Doesn't name the current mode: it isn't known before scripts run.
        aria_label="Switch between light and dark",
        on_click=toggle_color_mode,
    )
