"""What only the root of a tab's states can do; the package says why."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from reflex.state import BaseState


def empty(state: BaseState) -> None:
    """Drop all that the tab of `state` has."""
    state._get_root_state().reset()
