"""Time as the books see it: the machine's, moved forward now and then.

Invariant: time never goes back, and each move takes effect at a whole second of the machine, so that
a timestamp in whole seconds lies clearly before or after it.
"""

import time
from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(slots=True)
class Clock:
    """All instants are Unix seconds. `moves` are (machine's second, seconds ahead from then on)."""

    moves: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    # The instant being worked off while due things are done: what happens then is dated then.
    pinned: int | None = None

    @property
    def ahead(self) -> int:
        return self.moves[-1][1] if self.moves else 0

    def now(self) -> int:
        return self.virtual(int(time.time())) if self.pinned is None else self.pinned

    def virtual(self, wall: int) -> int:
        """The books' instant for one of the machine's, by how far ahead they were then."""
        index = bisect_right(self.moves, wall, key=lambda move: move[0])
        return wall + (self.moves[index - 1][1] if index else 0)
