"""What the pages for admins are made of: tables sorted on the server, pages, searches, tiles, badges,
spans of time, and a question before each action."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.admin.shell import Area
from aisaas.ui.admin.view import OrderView, PagerView, TileView
from aisaas.ui.browser import ConfirmDialog
from aisaas.ui.notices import Notices


@dataclasses.dataclass(frozen=True)
class Column:
    """A column; with a `key` the server can sort by it. `kind` is a class: number, wrap, actions; wide
    for one that needs a line to itself where rows are cards."""

    name: str
    kind: str = ""
    key: str = ""


def table(
    columns: Sequence[Column],
    rows: Any,
    draw: Callable[[Any], rx.Component],
    label: str,
    *,
    empty: str = "",
    order: OrderView | None = None,
    on_sort: Any = None,
) -> rx.Component:
    """A table of `rows`, each drawn by `draw`. On narrow screens rows become cards under their first
    cell.

    Args:
        empty: the sentence shown instead of a table without rows.
        on_sort: a handler that takes a column's key: pressed again, the direction turns.
    """
    found = rx.el.table(
        rx.el.thead(
            rx.el.tr(*(_head(column, order, on_sort) for column in columns), role="row"),
            role="rowgroup",
        ),
        rx.el.tbody(rx.foreach(rows, draw), role="rowgroup"),
        class_name="ledger ledger-named ledger-sorted" if on_sort else "ledger ledger-named",
        role="table",
        aria_label=label,
    )
    return rx.cond(rows, found, rx.el.p(empty, class_name="quiet") if empty else rx.fragment())


def _head(column: Column, order: OrderView | None, on_sort: Any) -> rx.Component:
    if order is None or on_sort is None or not column.key:
        return rx.el.th(column.name, scope="col", role="columnheader", class_name=column.kind)
    direction = rx.cond(order.down, "descending", "ascending")
    return rx.el.th(
        rx.el.button(column.name, type="button", class_name="sort", on_click=on_sort(column.key)),
        scope="col",
        role="columnheader",
        class_name=column.kind,
        custom_attrs={"aria-sort": rx.cond(order.key == column.key, direction, "none")},
    )


def row(
    columns: Sequence[Column], *cells: layout.Text | rx.Component, key: layout.Text
) -> rx.Component:
    first, *rest = cells
    # One box each, beside its label where rows are cards.
    boxed = (rx.el.div(cell) for cell in rest)
    return layout.row(
        tuple((column.name, column.kind) for column in columns), first, *boxed, key=key
    )


def lines(texts: Any) -> rx.Component:
    """Each text on a line of its own."""
    return rx.foreach(texts, _line)


def _line(text: layout.Text) -> rx.Component:
    return rx.el.div(text)


def pager(view: PagerView, on_earlier: Any, on_later: Any, label: str) -> rx.Component:
    return rx.el.nav(
        layout.turn("Previous", view.earlier, on_earlier),
        rx.el.span(view.words, class_name="quiet", aria_live="polite"),
        layout.turn("Next", view.later, on_later),
        class_name="pages",
        aria_label=label,
    )


def turns(page: Any, older: Any, on_newer: Any, on_older: Any, label: str) -> rx.Component:
    """Paging without a total count; the first page is the newest."""
    return rx.el.nav(
        layout.turn("Newer", page > 1, on_newer),
        rx.el.span("Page ", page, class_name="quiet", aria_live="polite"),
        layout.turn("Older", older, on_older),
        class_name="pages",
        aria_label=label,
    )


def search_box(label: str, event: rx.event.EventCallback[dict[str, str]]) -> rx.Component:
    """A form with one field, `search`; asked by Enter or its button."""
    return rx.el.form(
        rx.el.input(
            name="search",
            type="search",
            placeholder=label,
            aria_label=label,
            max_length=200,
        ),
        rx.el.button("Search", type="submit", class_name="button"),
        on_submit=event,
        class_name="search-box",
        role="search",
        aria_label=label,
    )


def badge(text: layout.Text, tone: layout.Text = "") -> rx.Component:
    """A one-word status; `tone` is good, near, bad or empty."""
    return rx.el.span(text, class_name="badge", custom_attrs={"data-level": tone})


def tiles(views: list[TileView], label: str) -> rx.Component:
    return rx.el.dl(rx.foreach(views, tile), class_name="tiles", aria_label=label)


def tile(view: TileView) -> rx.Component:
    """Inside a `dl`."""
    return rx.el.div(
        rx.el.dt(view.name),
        rx.el.dd(view.figure, class_name="tile-figure"),
        rx.cond(view.change, rx.el.dd(view.change, class_name="tile-change")),
        rx.cond(view.hint, rx.el.dd(view.hint, class_name="tile-change")),
        class_name="tile",
        key=view.name,
    )


def choice(
    options: Sequence[tuple[str, str]], chosen: str, on_choose: Any, label: str
) -> rx.Component:
    """One of a few: pairs of key and name; `on_choose` takes the key."""
    buttons = (
        rx.el.button(
            name,
            type="button",
            on_click=on_choose(key),
            custom_attrs={"aria-pressed": rx.cond(chosen == key, "true", "false")},
        )
        for key, name in options
    )
    return rx.el.div(*buttons, class_name="switch", role="group", aria_label=label)


def ask_first(
    label: layout.Text,
    *,
    title: layout.Text,
    confirm: layout.Text,
    on_confirm: Any,
    explanation: layout.Text = "",
    fields: rx.Var[Any] | Sequence[dict[str, Any]] = (),
    subject: rx.Var[Any] | str = "",
    danger: bool = False,
    small: bool = True,
) -> rx.Component:
    """A button, and a dialog that asks for `fields` and always for a reason, which the audit log keeps.

    Fields are `{name, label, type, value, options, hint, required, min, max, step}`; all but the first two
    may be missing. `on_confirm` is a handler that takes the form as a dictionary; when it succeeds
    it calls `shell.done`, which closes the dialog. A refusal is shown in it.
    """
    shown = fields if isinstance(fields, rx.Var) else rx.Var.create(list(fields))
    button = "button button-small" if small else "button"
    # A handler and its subject identify one dialog of a page.
    handler: Any = rx.Var.create(f"{on_confirm.fn.__qualname__}-")
    own = handler + subject
    return ConfirmDialog.create(
        rx.el.p(explanation) if explanation != "" else rx.fragment(),
        rx.foreach(shown.to(list[dict[str, Any]]), lambda field: _field(field, own)),
        _reason(own),
        label=label,
        title=title,
        confirm=confirm,
        danger=danger,
        class_name=f"{button} button-danger" if danger else button,
        subject=subject,
        refusal=Notices.refusal,
        acted=Area.acted,
        on_confirm=on_confirm,
    )


def _field(field: Any, dialog: Any) -> rx.Component:
    own = dialog + "-" + field["name"].to(str)
    # A new value makes it a new field, which discards what was typed before.
    key = field["name"].to(str) + " " + field["value"].to_string()
    check = rx.el.label(
        rx.el.input(
            id=own,
            name=field["name"],
            type="checkbox",
            value="yes",
            default_checked=field["value"] == "yes",
        ),
        field["label"],
        html_for=own,
        class_name="choice",
    )
    described = {"aria-describedby": rx.cond(field["hint"], own + "-hint", rx.Var("undefined"))}
    select = rx.el.select(
        rx.foreach(field["options"].to(list[dict[str, str]]), _option),
        id=own,
        name=field["name"],
        default_value=field["value"],
        custom_attrs=described,
    )
    box = rx.el.input(
        id=own,
        name=field["name"],
        type=rx.cond(field["type"], field["type"], "text"),
        default_value=field["value"],
        required=field["required"],
        min=field["min"],
        max=field["max"],
        step=field["step"],
        max_length=rx.cond(field["type"] == "number", rx.Var("undefined"), 200),
        auto_complete="off",
        custom_attrs=described,
    )
    labelled = rx.el.div(
        rx.el.label(field["label"], html_for=own),
        rx.cond(field["type"] == "select", select, box),
        rx.cond(field["hint"], rx.el.p(field["hint"], id=own + "-hint", class_name="hint")),
        class_name="field",
    )
    return rx.fragment(rx.cond(field["type"] == "checkbox", check, labelled), key=key)


def _option(option: Any) -> rx.Component:
    return rx.el.option(option["label"], value=option["value"], key=option["value"])


def _reason(dialog: Any) -> rx.Component:
    own = dialog + "-reason"
    return rx.el.div(
        rx.el.label("Reason", html_for=own),
        rx.el.textarea(
            id=own,
            name="reason",
            rows=2,
            required=True,
            min_length=3,
            max_length=500,
            custom_attrs={"aria-describedby": own + "-hint"},
        ),
        rx.el.p("Saved in the audit log.", id=own + "-hint", class_name="hint"),
        class_name="field",
    )
