"""A clock that is off is reported; the tests move ours."""

from __future__ import annotations

import time

import pytest

from aisaas.cli.checklist import clocks
from aisaas.cli.checklist.database import Connections
from childprocess.ports import free_port
from tests.production.conftest import Configure, Found, by_item
from tests.production.test_address import serving

CLOCKS = ("clock: Redis", "clock: Stripe")


def _look(configure: Configure) -> Found:
    with serving(401, {}) as port:
        config = configure(
            stripe_secret_key="sk_test_x", stripe_api_base=f"http://127.0.0.1:{port}"
        )
        return by_item(clocks.look(config))


def test_clocks_that_agree_are_well(configure: Configure, opened: Connections) -> None:
    found = _look(configure)
    assert {item: found[item].state for item in CLOCKS} == dict.fromkeys(CLOCKS, "ok")
    assert clocks.of_database(opened).state == "ok"


@pytest.mark.parametrize(
    ("seconds", "state", "side"),
    [(-60, "failed", "ahead of"), (60, "failed", "behind"), (-10, "warning", "ahead of")],
)
def test_clock_that_is_off_is_reported(
    seconds: int,
    state: str,
    side: str,
    configure: Configure,
    opened: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clocks, "now", lambda: time.time() + seconds)
    found = _look(configure)
    for each in (found[CLOCKS[0]], found[CLOCKS[1]], clocks.of_database(opened)):
        assert each.state == state
        assert side in each.said
        assert "NTP" in each.fix


def test_clock_that_nobody_tells_is_skipped(configure: Configure) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    config = configure(stripe_secret_key="sk_test_x", stripe_api_base=nowhere)
    assert by_item(clocks.look(config))["clock: Stripe"].state == "skipped"
