"""Which events reach Reflex: those that pages send, with the arguments they have, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from reflex_base.registry import RegistrationContext

import aisaas.aisaas  # noqa: F401 - its handlers are what is checked
from aisaas.ui import events
from aisaas.ui.chat.state import Chat, Sidebar
from aisaas.ui.events import (
    CONNECTED,
    EVENT,
    MAX_ADDRESS,
    MAX_DEPTH,
    MAX_NODES,
    MAX_PATH,
    NAVIGATED,
    OPEN,
    REPORTED,
    FrameRefused,
    handlers,
)

CHAT = Chat.get_full_name()
SEND, STOP, RENAME = f"{CHAT}.send", f"{CHAT}.stop", f"{Sidebar.get_full_name()}.rename"
PLACE = {"pathname": "/", "asPath": "/", "query": {}}


def passed(packet: object) -> Any:
    """What Reflex sees of a packet."""
    frame = events.checked(EVENT + json.dumps(packet), report=lambda _: None)
    return json.loads(frame.removeprefix(EVENT))


def event(name: str, payload: object = None, **more: object) -> Any:
    sent = {"name": name, "payload": {} if payload is None else payload, **more}
    return passed(["event", sent])[1]


def refused(packet: object) -> str:
    with pytest.raises(FrameRefused) as refusal:
        passed(packet)
    return refusal.value.reason


# What it lets through


def test_every_handler_of_ours_passes_with_its_arguments_and_no_other() -> None:
    ours = [name for name in handlers() if name not in {CONNECTED, NAVIGATED}]
    assert len(ours) > 60
    for name in ours:
        wanted = handlers()[name]
        payload = dict.fromkeys(wanted.known, "x")
        assert event(name, payload) == {"name": name, "payload": payload, "router_data": PLACE}
        assert refused(["event", {"name": name, "payload": {**payload, "x": 1}}])
        if wanted.needed:
            assert refused(["event", {"name": name, "payload": {}}]) == "arguments_unknown"


def test_what_a_page_sends_by_itself_passes() -> None:
    hashes = ["0123456789abcdef"] * 30
    assert event(CONNECTED, {"hashes": hashes})["payload"] == {"hashes": hashes}
    assert event(NAVIGATED)["name"] == NAVIGATED
    opening = {"event": {"name": CONNECTED, "payload": {}}, "state_schema": "0123456789abcdef"}
    frame = events.checked(OPEN + json.dumps(opening), report=lambda _: None)
    assert json.loads(frame.removeprefix(OPEN)) == {
        "state_schema": "0123456789abcdef",
        "event": {"name": CONNECTED, "payload": {}, "router_data": PLACE},
    }


def test_text_of_any_language_and_a_form_pass_unchanged() -> None:
    text = 'emoji 😀, "quotes", עברית, 中文\n\ttabs \\ and \u202e'
    payload = {"conversation_id": "x", "title": text}
    assert event(RENAME, payload)["payload"] == payload
    form = {"form": {"__reflex_form_data__": [["reason", text], ["days", "7"]]}}
    name = next(each for each in handlers() if each.endswith("one_user.suspend"))
    assert event(name, form)["payload"] == form


# What it doesn't


def test_reflexs_own_handlers_are_out_of_reach() -> None:
    registered = RegistrationContext.get().event_handlers
    reached = {name for name in registered if name in handlers()}
    theirs = {name for name in registered if ".aisaas___" not in name}
    assert reached & theirs == {CONNECTED, NAVIGATED}
    assert not any(name.endswith(".setvar") for name in reached)
    for name in sorted(theirs - reached - {REPORTED}):
        assert refused(["event", {"name": name, "payload": {}}]) == "handler_unknown"


@pytest.mark.parametrize(
    "packet",
    [
        ["event"],
        ["event", {}, {}],
        ["ping", {}],
        ["client_error"],
        ["client_error", "text"],
        ["disconnect"],
        [],
        "event",
        None,
        ["event", "text"],
        ["event", {"payload": {}}],
        ["event", {"name": 7}],
        ["event", {"name": STOP, "payload": []}],
        ["event", {"name": STOP, "payload": {"message_id": "x", "__class__": 1}}],
    ],
    ids=repr,
)
def test_another_shape_is_refused(packet: object) -> None:
    assert refused(packet)


def test_arguments_have_a_depth_and_a_number_at_their_edges() -> None:
    def nested(levels: int) -> object:
        return [] if levels == 0 else [nested(levels - 1)]

    # The packet, the event and its payload are three of them.
    deepest = MAX_DEPTH - 3
    assert event(STOP, {"message_id": nested(deepest)})
    assert refused(["event", {"name": STOP, "payload": {"message_id": nested(deepest + 1)}}]) == (
        "event_too_deep"
    )
    # Around the values: the event, its name, payload and the list.
    most = MAX_NODES - 5
    assert event(STOP, {"message_id": [0] * most})
    assert refused(["event", {"name": STOP, "payload": {"message_id": [0] * (most + 1)}}]) == (
        "event_too_large"
    )


def test_storage_of_the_browser_sets_nothing() -> None:
    sent = {"vars": {"reflex___state____state.is_hydrated": True}}
    assert refused(["event", {"name": CONNECTED, "payload": sent}]) == "arguments_unknown"
    for junk in ("x", ["x" * 9_000], [7], ["0" * 16] * 501):
        assert event(CONNECTED, {"hashes": junk})["payload"] == {}


def test_what_opens_a_socket_is_a_page_that_loads() -> None:
    for name in (SEND, NAVIGATED, "gone"):
        opening = OPEN + json.dumps({"event": {"name": name, "payload": {}}})
        with pytest.raises(FrameRefused):
            events.checked(opening, report=lambda _: None)
    schema = OPEN + json.dumps({"state_schema": "forged\nline"})
    assert events.checked(schema, report=lambda _: None) == OPEN + "{}"


# Where the page is


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (None, PLACE),
        ("text", PLACE),
        ({"headers": {"cookie": "x"}, "token": "y", "ip": "z", "sid": "s"}, PLACE),
        ({"pathname": "/chat/1", "asPath": "/chat/1?a=b#c", "query": {"a": "b"}}, None),
        ({"pathname": "/" + "a" * (MAX_PATH - 1)}, {"pathname": "/" + "a" * (MAX_PATH - 1)}),
        ({"pathname": "/" + "a" * MAX_PATH}, {"pathname": "/"}),
        ({"pathname": "/login", "asPath": "/" + "a" * MAX_ADDRESS}, {"pathname": "/login"}),
        ({"pathname": "//evil.example/"}, {"pathname": "/"}),
        ({"pathname": "https://evil.example"}, {"pathname": "/"}),
        ({"pathname": "/a\nb", "asPath": "/a\0b"}, {"pathname": "/", "asPath": "/"}),
        ({"query": {"a": ["b"], "b": {"c": 1}, "d": "\ud800", "e": "f"}}, {"query": {"e": "f"}}),
        ({"query": {"a": "b" * MAX_ADDRESS}}, {"query": {}}),
        ({"query": {str(n): "" for n in range(50)}}, {"query": {str(n): "" for n in range(20)}}),
    ],
    ids=range(13),
)
def test_where_a_page_is_takes_bounded_space(sent: object, seen: dict[str, Any] | None) -> None:
    expected = PLACE | (sent if seen is None and isinstance(sent, dict) else seen or {})
    if "pathname" in expected and expected["asPath"] == "/":
        expected["asPath"] = expected["pathname"]
    assert event(NAVIGATED, router_data=sent)["router_data"] == expected
    assert len(json.dumps(expected)) < MAX_PATH + 2 * MAX_ADDRESS


# Errors of pages


def test_errors_of_pages_end_here() -> None:
    reported: list[object] = []
    for packet in (
        ["event", {"name": REPORTED, "payload": {"info": "TypeError: x", "component_stack": ""}}],
        ["client_error", {"message": "RangeError: y", "error_type": "z"}],
    ):
        with pytest.raises(FrameRefused):
            events.checked(EVENT + json.dumps(packet), report=reported.append)
    assert reported == ["TypeError: x", "RangeError: y"]
