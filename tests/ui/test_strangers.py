"""Strangers at the whole server. How little others notice belongs to the measurement (`bench strangers`);
that nobody is locked out is told here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks import strangers
from benchmarks.instance import Instance, instance
from devstack.stack import Stack

# The pages may have to be built first.
pytestmark = pytest.mark.timeout(400)
CONNECTIONS = 120
SHARES = {"CONNECTIONS_PER_ADDRESS": "40", "SOCKETS_PER_ADDRESS": "20"}


@contextmanager
def server(folder: Path, stack: Stack, **env: str) -> Generator[Instance]:
    with instance(folder, workers=1, stack=stack, TAB_STATES="memory", **env) as running:
        yield running


@pytest.mark.usefixtures("front_end")
def test_strangers_lose_their_connections_and_others_get_what_they_ask_for(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine is no stranger.
    monkeypatch.setattr(strangers, "PATIENCE_SECONDS", 60.0)
    with server(tmp_path, stack, **SHARES) as running:
        found = asyncio.run(strangers.measured_at(running.url, CONNECTIONS, 3.0))
    assert set(found) == {"nobody", *strangers.KINDS}
    for kind, figures in found.items():
        for who in ("visitor", "signed_in_neighbor"):
            noticed = figures[who]
            assert isinstance(noticed, dict)
            assert (kind, who, noticed["failed"]) == (kind, who, 0)
            assert noticed["rounds"] > 0
    log = (tmp_path / "worker0.log").read_text()
    assert "Traceback" not in log


@pytest.mark.usefixtures("front_end")
def test_only_an_origin_that_is_allowed_learns_that_it_may_send_cookies(
    tmp_path: Path, stack: Stack
) -> None:
    friend = "https://friend.example.com"

    def allowed_origins(url: str, origin: str) -> set[str | None]:
        paths = ("/", "/ping", "/api/site", "/login", "/_event/?EIO=4&transport=polling")
        answers = [httpx.get(url + path, headers={"origin": origin}) for path in paths]
        asked = {"origin": origin, "access-control-request-method": "POST"}
        answers.append(httpx.options(f"{url}/api/session/sign-in", headers=asked))
        return {each.headers.get("access-control-allow-credentials") for each in answers}

    with server(tmp_path, stack, ALLOWED_ORIGINS="") as running:
        for origin in (running.url, friend, "null"):
            assert allowed_origins(running.url, origin) == {None}
    with server(tmp_path, stack, ALLOWED_ORIGINS=friend) as running:
        allowed = httpx.get(f"{running.url}/ping", headers={"origin": friend}).headers
        assert allowed["access-control-allow-origin"] == friend
        assert allowed["access-control-allow-credentials"] == "true"
