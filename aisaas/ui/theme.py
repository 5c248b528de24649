"""The look: one stylesheet with every token and named style, and what goes into each page's head.

Pages and components name styles by class; no module holds a styling dictionary. Tokens are CSS
custom properties in `theme.css`, each with its light and its dark value side by side.
"""

from __future__ import annotations

import reflex as rx
from reflex.style import color_mode, toggle_color_mode

HEAD = [
    rx.el.link(rel="icon", href="/favicon.svg", type="image/svg+xml"),
    rx.el.meta(name="color-scheme", content="light dark"),
    rx.el.meta(name="theme-color", content="#fbfaf8", media="(prefers-color-scheme: light)"),
    rx.el.meta(name="theme-color", content="#161615", media="(prefers-color-scheme: dark)"),
]


def color_mode_button() -> rx.Component:
    """Light or dark; until it is pressed the system decides."""
    return rx.el.button(
        rx.el.span(class_name="icon icon-contrast", aria_hidden="true"),
        type="button",
        class_name="icon-button",
        aria_label=rx.cond(color_mode == "dark", "Use light mode", "Use dark mode"),
        on_click=toggle_color_mode,
    )
