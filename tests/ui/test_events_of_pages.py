"""The gate before Reflex lets through what the built pages send."""

from __future__ import annotations

import json
import re

import pytest

import aisaas.aisaas  # noqa: F401 - its handlers are what is checked
from aisaas.settings import PROJECT_ROOT
from aisaas.ui import events

# The pages may have to be built first.
pytestmark = pytest.mark.timeout(400)
_CALL = re.compile(r'ReflexEvent\(\s*"(reflex___state[^"]+)",\s*\(\{(.*?)\}\)', re.DOTALL)
_ARGUMENT = re.compile(r'\["(\w+)"\]\s*:')


@pytest.mark.usefixtures("front_end")
def test_every_event_of_the_built_pages_passes() -> None:
    sources = [
        *(PROJECT_ROOT / ".web" / "app").rglob("*.jsx"),
        *(PROJECT_ROOT / ".web" / "app_components").rglob("*.jsx"),
    ]
    calls = {
        (name, frozenset(_ARGUMENT.findall(arguments)))
        for source in sources
        for name, arguments in _CALL.findall(source.read_text("utf-8"))
    }
    assert len(calls) > 30
    for name, arguments in calls:
        event = {"name": name, "payload": dict.fromkeys(arguments, "x")}
        frame = events.EVENT + json.dumps(["event", event])
        passed = json.loads(events.checked(frame, report=print).removeprefix(events.EVENT))
        assert passed[1]["name"] == name
