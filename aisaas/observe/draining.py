"""Whether this process is on its way out: set on SIGTERM, before anything else ends.

From then on `/ready` says no, so that whatever spreads the visitors sends no new ones here.
"""

from __future__ import annotations


class Draining:
    """A flag that is only ever set."""

    def __init__(self) -> None:
        self._begun = False

    @property
    def begun(self) -> bool:
        return self._begun

    def begin(self) -> None:
        self._begun = True
