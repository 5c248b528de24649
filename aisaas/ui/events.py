"""What a page's web socket may send, checked before Reflex sees it.

A frame is one of four: an answer to a ping, the opening of our one namespace, its closing, or an event.
An event names a handler that the pages can call, and has arguments that it knows; where the page is, is
bounded text. Any other frame is dropped and counted. Accepted frames are rebuilt from the checked
values, so nothing unknown gets through.

Errors that pages report end here too (`page_errors.py`): Reflex would write their text into the log.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from reflex.state import FrontendEventExceptionState, OnLoadInternalState, State
from reflex_base.registry import RegistrationContext
from reflex_base.utils.format import format_event_handler

NAMESPACE = "/_event"
PONG = "3"
OPEN = f"40{NAMESPACE},"
CLOSE = f"41{NAMESPACE},"
EVENT = f"42{NAMESPACE},"
ENGINE_CLOSE = "1"

# What an event's arguments may be made of: a form is text in lists in a list in an object.
MAX_DEPTH = 6
MAX_NODES = 2_000
MAX_KEY = 200
MAX_PATH = 512
MAX_ADDRESS = 2_048
MAX_QUERY_VALUES = 20
MAX_HASHES = 500
_HASH = re.compile(r"[0-9a-f]{8,64}\Z")
# The framework's own handlers that a page calls: after connecting, and when the address changes.
CONNECTED = format_event_handler(State.event_handlers["hydrate_and_load"])
NAVIGATED = format_event_handler(OnLoadInternalState.event_handlers["on_load_internal"])
# Its others: errors are taken here, the rest are called by the server only or set any variable.
REPORTED = format_event_handler(
    FrontendEventExceptionState.event_handlers["handle_frontend_exception"]
)
# Of a report, which ends here.
PAGE_ERROR = "page_error"
_OURS = "aisaas."
_SETTER = "setvar"


class FrameRefused(Exception):
    """`reason` is one of a few fixed words. `closes` when no honest client sends such a frame."""

    def __init__(self, reason: str, *, closes: bool = False) -> None:
        self.reason = reason
        self.closes = closes
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Arguments:
    """The names that a handler's arguments have."""

    known: frozenset[str]
    needed: frozenset[str]


@cache
def handlers() -> Mapping[str, Arguments]:
    """The handlers that a page may call, by their names on the wire."""
    found = {
        name: _arguments(registered.handler.fn)
        for name, registered in RegistrationContext.get().event_handlers.items()
        if registered.handler.fn.__module__.startswith(_OURS) and not name.endswith(_SETTER)
    }
    nothing: frozenset[str] = frozenset()
    return found | {
        CONNECTED: Arguments(frozenset({"hashes"}), nothing),
        NAVIGATED: Arguments(nothing, nothing),
    }


def _arguments(handler: Callable[..., Any]) -> Arguments:
    parameters = list(inspect.signature(handler).parameters.values())[1:]
    return Arguments(
        frozenset(each.name for each in parameters),
        frozenset(each.name for each in parameters if each.default is each.empty),
    )


def checked(frame: str, *, report: Callable[[object], None]) -> str:
    """The frame as Reflex may see it.

    Args:
        frame: as it came.
        report: takes what a page says of an error of its own.

    Raises:
        FrameRefused: it isn't one of ours, or it was a report.
    """
    if frame in {PONG, ENGINE_CLOSE, CLOSE}:
        return frame
    if frame.startswith(OPEN):
        return OPEN + _written(_opening(_parsed(frame[len(OPEN) :] or "{}")))
    if frame.startswith(EVENT):
        return EVENT + _written(["event", _event(_parsed(frame[len(EVENT) :]), report)])
    raise FrameRefused("frame_unknown", closes=True)


def _written(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _parsed(text: str) -> Any:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise FrameRefused("frame_malformed", closes=True) from None
    _require_small(found)
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("JSON has no NaN and no Infinity")


def _require_small(value: object) -> None:
    level: list[object] = [value]
    nodes = 0
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                if any(len(key) > MAX_KEY for key in each):
                    raise FrameRefused("event_malformed")
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        nodes += len(below)
        if nodes > MAX_NODES:
            raise FrameRefused("event_too_large")
        if not below:
            return
        level = below
    raise FrameRefused("event_too_deep")


def _opening(auth: object) -> dict[str, object]:
    if not isinstance(auth, dict):
        raise FrameRefused("event_malformed", closes=True)
    found: dict[str, object] = {}
    schema = auth.get("state_schema")
    if isinstance(schema, str) and _HASH.match(schema):
        found["state_schema"] = schema
    if auth.get("event") is not None:
        event = _handled(auth["event"])
        if event["name"] != CONNECTED:
            raise FrameRefused("handler_unknown", closes=True)
        found["event"] = event
    return found


def _event(packet: object, report: Callable[[object], None]) -> dict[str, object]:
    match packet:
        case ["event", {"name": str(name), "payload": dict(payload)}] if name == REPORTED:
            report(payload.get("info"))
            raise FrameRefused(PAGE_ERROR)
        case ["event", event]:
            return _handled(event)
        case ["client_error", dict(error)]:
            report(error.get("message"))
            raise FrameRefused(PAGE_ERROR)
        case _:
            raise FrameRefused("frame_unknown", closes=True)


def _handled(event: object) -> dict[str, object]:
    if not isinstance(event, dict):
        raise FrameRefused("event_malformed")
    name, payload = event.get("name"), event.get("payload")
    if payload is None:
        payload = {}
    if not isinstance(name, str) or not isinstance(payload, dict):
        raise FrameRefused("event_malformed")
    arguments = handlers().get(name)
    if arguments is None:
        raise FrameRefused("handler_unknown")
    if not arguments.needed <= payload.keys() <= arguments.known:
        raise FrameRefused("arguments_unknown")
    if name == CONNECTED:
        payload = _hashes(payload)
    return {"name": name, "payload": payload, "router_data": _place(event.get("router_data"))}


def _hashes(payload: dict[str, object]) -> dict[str, object]:
    found = payload.get("hashes")
    if not isinstance(found, list) or len(found) > MAX_HASHES:
        return {}
    if not all(isinstance(each, str) and _HASH.match(each) for each in found):
        return {}
    return {"hashes": found}


def _place(found: object) -> dict[str, object]:
    """Where the page is. An address too long for it is cut to its path, and one that is none to `/`."""
    place = found if isinstance(found, dict) else {}
    path = _address(place.get("pathname"), MAX_PATH, "/")
    query = place.get("query")
    return {
        "pathname": path,
        "asPath": _address(place.get("asPath"), MAX_ADDRESS, path),
        "query": _query(query) if isinstance(query, dict) else {},
    }


def _address(found: object, longest: int, default: str) -> str:
    # Two slashes would begin another host.
    if (
        not isinstance(found, str)
        or len(found) > longest
        or not found.startswith("/")
        or found.startswith("//")
        or not found.isprintable()
    ):
        return default
    return found


def _query(found: Mapping[str, object]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in list(found.items())[:MAX_QUERY_VALUES]
        if isinstance(value, str) and name.isprintable() and value.isprintable()
    }
    size = sum(len(name) + len(value) for name, value in kept.items())
    return kept if size <= MAX_ADDRESS else {}
