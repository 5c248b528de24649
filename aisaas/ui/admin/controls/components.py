"""The parts of the controls page."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.controls.found import FoundModels
from aisaas.ui.admin.controls.state import Controls
from aisaas.ui.admin.controls.view import (
    CapView,
    FoundView,
    LeftOutView,
    ModelRowView,
    ProviderView,
    SwitchView,
)

SWITCHES = (
    Column("Stopped"),
    Column("Since"),
    Column("Running replies"),
    Column("Reason", "wrap"),
    Column("Resume"),
)
MODELS = (
    Column("Model"),
    Column("State"),
    Column("Plans", "wrap"),
    Column("Weight", "number"),
    Column("Price in / out", "number wide"),
    Column("Margin", "wrap"),
    Column("Change", "actions"),
)
FOUND = (
    Column("Model", "wrap"),
    Column("Price in / out", "number wide"),
    Column("Tokens", "wrap"),
    Column("Add", "actions"),
)
MIX = (
    "Prices are in USD per 1M model tokens, in and out. Margins assume three tokens in for each token "
    "out. “Included” is the margin if a customer uses all their included tokens on this model; “extra "
    "usage” is the margin on usage beyond that."
)


def caps() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Daily spending caps"),
        rx.el.dl(rx.foreach(Controls.caps, _cap), class_name="tiles"),
        rx.el.p(Controls.alert_channels, class_name="quiet"),
        class_name="area-part",
    )


def _cap(cap: CapView) -> rx.Component:
    return rx.el.div(
        rx.el.dt(cap.name),
        rx.el.dd(cap.spent, class_name="tile-figure"),
        rx.el.dd(
            rx.el.div(layout.bar(cap.percent), class_name="gauge-bar", aria_hidden="true"),
            rx.el.span(cap.words, class_name="tile-change"),
            class_name="gauge",
            custom_attrs={"data-level": cap.level},
        ),
        rx.el.dd(cap.hint, class_name="tile-change"),
        rx.el.dd(
            shared.ask_first(
                "Change",
                title=f"Change the cap: {cap.name}",
                explanation="Applies from the next call. Running replies continue.",
                confirm="Change cap",
                fields=cap.fields,
                subject=cap.scope,
                on_confirm=Controls.set_cap,
            )
        ),
        class_name="tile",
        key=cap.scope,
    )


def switches() -> rx.Component:
    return rx.el.section(
        rx.el.div(
            rx.el.h2("Kill switch"),
            shared.ask_first(
                "Stop calls",
                title="Stop calls",
                explanation="New calls are refused right away, until you resume them.",
                confirm="Stop",
                fields=Controls.switch_fields,
                on_confirm=Controls.engage,
                danger=True,
            ),
            class_name="card-head",
        ),
        shared.table(
            SWITCHES, Controls.switches, _switch, "Stopped calls", empty="All calls are allowed."
        ),
        class_name="card card-wide",
    )


def _switch(switch: SwitchView) -> rx.Component:
    return shared.row(
        SWITCHES,
        switch.name,
        layout.when(switch.since, "minute"),
        switch.running,
        switch.reason,
        shared.ask_first(
            "Resume",
            title=f"Resume calls: {switch.name}",
            confirm="Resume",
            subject=switch.scope,
            on_confirm=Controls.lift,
        ),
        key=switch.scope,
    )


def models() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Models"),
        shared.table(MODELS, Controls.models, _model, "Models"),
        rx.foreach(Controls.left_out, _left_out),
        rx.el.p(MIX, class_name="quiet"),
        class_name="card card-wide",
    )


def _model(model: ModelRowView) -> rx.Component:
    return shared.row(
        MODELS,
        rx.el.div(
            rx.el.div(model.name),
            rx.el.div(model.provider, class_name="quiet"),
            rx.el.div(shared.lines(model.about), class_name="quiet"),
        ),
        shared.badge(model.state, model.tone),
        model.plans,
        model.weight,
        rx.el.div(
            rx.el.div(model.price),
            rx.el.div(shared.lines(model.price_notes), class_name="quiet"),
        ),
        rx.el.div(shared.lines(model.margins)),
        rx.el.div(
            shared.ask_first(
                "Change",
                title=f"Change {model.name}",
                explanation="Applies from the next call. Leave a number empty to use the catalog's. Cache "
                "writes, thinking, and long prompts keep their proportion to the price. Running replies are "
                "billed at the terms they started with.",
                confirm="Change model",
                fields=model.fields,
                subject=model.id,
                on_confirm=Controls.change_model,
            ),
            rx.cond(model.retired, _restore(model), _retire(model)),
            rx.cond(model.added, _remove(model.id, model.name)),
            class_name="row-of-buttons",
        ),
        key=model.id,
    )


def _retire(model: ModelRowView) -> rx.Component:
    return shared.ask_first(
        "Retire",
        title=f"Retire {model.name}",
        explanation="New messages can't use it anymore, and its conversations offer the successor. "
        "Running replies finish.",
        confirm="Retire model",
        fields=Controls.retire_fields,
        subject=model.id,
        on_confirm=Controls.retire_model,
        danger=True,
    )


def _restore(model: ModelRowView) -> rx.Component:
    return shared.ask_first(
        "Restore",
        title=f"Restore {model.name}",
        explanation="It can be used again from the next call, if it is on.",
        confirm="Restore model",
        subject=model.id,
        on_confirm=Controls.restore_model,
    )


def _remove(subject: rx.Var[str] | str, name: rx.Var[str] | str) -> rx.Component:
    return shared.ask_first(
        "Remove",
        title=f"Remove {name}",
        explanation="It leaves this list, and its conversations say that it is retired. Running replies "
        "finish. You can add it again.",
        confirm="Remove model",
        subject=subject,
        on_confirm=Controls.remove_model,
        danger=True,
    )


def _left_out(row: LeftOutView) -> rx.Component:
    return rx.el.div(
        rx.el.p(row.sentence, class_name="alert-text"),
        _remove(row.id, row.name),
        class_name="near near-with-button",
        key=row.id,
    )


def found_models() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Found models"),
        rx.el.p(
            "Ask a provider which models your key can use, and add one. Models without a known price "
            "need one from you.",
            class_name="quiet",
        ),
        rx.el.form(
            rx.el.select(
                rx.foreach(Controls.providers, _provider),
                name="provider",
                aria_label="Provider",
            ),
            rx.el.input(
                name="search",
                type="search",
                placeholder="Name contains",
                aria_label="Name contains",
                max_length=200,
            ),
            rx.el.button(
                "Find models",
                type="submit",
                class_name="button",
                custom_attrs={"aria-disabled": FoundModels.asking},
            ),
            on_submit=FoundModels.find,
            class_name="search-box found-box",
            role="search",
            aria_label="Found models",
        ),
        rx.el.p(FoundModels.said, class_name="quiet", role="status"),
        shared.table(FOUND, FoundModels.rows, _found, "Found models"),
        class_name="card card-wide",
    )


def _provider(provider: ProviderView) -> rx.Component:
    return rx.el.option(provider.label, value=provider.id, key=provider.id)


def _found(found: FoundView) -> rx.Component:
    return shared.row(
        FOUND,
        found.name,
        found.price,
        found.size,
        rx.cond(
            found.listed,
            rx.el.span("In the list as ", found.listed, class_name="quiet"),
            shared.ask_first(
                "Add",
                title=f"Add {found.name}",
                explanation="Applies from the next call. The weight follows from the price.",
                confirm="Add model",
                fields=found.fields,
                subject=found.subject,
                on_confirm=FoundModels.add,
            ),
        ),
        key=found.subject,
    )
