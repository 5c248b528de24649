"""How much JavaScript each page asks for before anything is done on it, compressed as it is sent, and in how
many files."""

from __future__ import annotations

import gzip
import re
from functools import cache
from pathlib import Path

import pytest

from aisaas.cli.build.frontend import CLIENT
from aisaas.ui import routes

# The pages may have to be built first.
pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("front_end")]

KB = 1000
# In KB. The chat draws replies; everything else is forms, tables and a chart.
MOST = {routes.HOME: 160, routes.LOGIN: 165, routes.SIGNUP: 165, routes.CHAT_ROUTE: 230}
MOST_OF_OTHERS = 170
# Over HTTP/1.1 a browser requests six at a time.
MOST_SCRIPTS = 12
_SCRIPT = re.compile(r"/assets/([\w.()-]+\.js)")
_IMPORT = re.compile(r'(?:from|import)\s*"\./([\w.()-]+\.js)"')


@pytest.mark.parametrize("route", routes.PAGES)
def test_page_asks_for_little_javascript(route: str) -> None:
    page = CLIENT / routes.built_path(route).lstrip("/") / "index.html"
    scripts = loaded(page)
    assert 3 < len(scripts) <= MOST_SCRIPTS
    assert sum(map(weight, scripts)) <= MOST.get(route, MOST_OF_OTHERS) * KB


def loaded(page: Path) -> set[str]:
    """The scripts that the HTML names, and those that they import."""
    waiting, found = set(_SCRIPT.findall(page.read_text("utf-8"))), set[str]()
    while waiting:
        script = waiting.pop()
        found.add(script)
        waiting |= set(_IMPORT.findall(text(script))) - found
    return found


@cache
def text(script: str) -> str:
    return (CLIENT / "assets" / script).read_text("utf-8")


@cache
def weight(script: str) -> int:
    return len(gzip.compress(text(script).encode()))
