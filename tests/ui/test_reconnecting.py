"""Reflex's client, with our waits."""

from __future__ import annotations

import pytest
from reflex.constants import Templates

from aisaas.ui.reflex_patches.reconnecting import CLIENT, reconnects_soon


def test_the_installed_client_takes_our_waits() -> None:
    source = (Templates.Dirs.WEB_TEMPLATE / CLIENT).read_text("utf-8")
    changed = reconnects_soon(source)
    assert "200 * failed_attempts" in source
    assert "200 * failed_attempts" not in changed
    assert 'addEventListener("online"' in changed


def test_a_client_that_has_changed_fails_the_build() -> None:
    with pytest.raises(RuntimeError, match="no single place"):
        reconnects_soon("export const connect = () => {};")
