"""Can this process do its work? All its dependencies are probed at once, each with a deadline.

Invariants: frequent checks add no load, since an answer is cached for a moment and concurrent
callers share it; an error is reported by its name, never its text, which may contain an address or
a password.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from aisaas.errors import DependencyError
from aisaas.observe.draining import Draining

# How long an answer is cached.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Dependency:
    """A part, and how to see whether it answers.

    `reach` returns when it does, and raises when it doesn't. Without a part that is not `required`
    the process still does most of its work, so it stays ready.
    """

    name: str
    reach: Callable[[], Awaitable[object]]
    seconds: float
    required: bool = True
    # Parts that charge for requests, or limit them, are probed less often.
    fresh_seconds: float = FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class Answer:
    """`trouble` is None when the part answered: else 'timeout' or the error's name."""

    name: str
    required: bool
    milliseconds: float
    trouble: str | None

    @property
    def ok(self) -> bool:
        return self.trouble is None


@dataclass(frozen=True, slots=True)
class Readiness:
    draining: bool
    answers: tuple[Answer, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.answers if a.required and not a.ok)

    @property
    def ready(self) -> bool:
        return not self.draining and not self.failed


class Dependencies:
    """The parts of this process. Belongs to one event loop."""

    def __init__(self, parts: Sequence[Dependency], draining: Draining) -> None:
        self._parts = tuple(parts)
        self._draining = draining
        self._asking: dict[str, asyncio.Task[Answer]] = {}
        self._asked_at: dict[str, float] = {}

    async def look(self) -> Readiness:
        """Probe all of them, or reuse their answers of a moment ago."""
        tasks = [self._ask(part) for part in self._parts]
        # Shielded: callers share an answer and must not lose it when one of them is canceled.
        answers = await asyncio.gather(*(asyncio.shield(task) for task in tasks))
        return Readiness(self._draining.begun, tuple(answers))

    def as_json(self, found: Readiness) -> Mapping[str, object]:
        """What may be shown to any caller."""
        status = "ready" if found.ready else ("draining" if found.draining else "failed")
        return {
            "status": status,
            "failed": list(found.failed),
            "dependencies": {
                answer.name: {
                    "ok": answer.ok,
                    "required": answer.required,
                    "ms": round(answer.milliseconds, 1),
                    **({} if answer.ok else {"trouble": answer.trouble}),
                }
                for answer in found.answers
            },
        }

    def _ask(self, part: Dependency) -> asyncio.Task[Answer]:
        now = time.monotonic()
        known = self._asking.get(part.name)
        if known is not None and (
            not known.done() or now - self._asked_at[part.name] < part.fresh_seconds
        ):
            return known
        self._asked_at[part.name] = now
        task = asyncio.create_task(_reach(part))
        self._asking[part.name] = task
        return task


async def _reach(part: Dependency) -> Answer:
    began = time.perf_counter()
    answer = Answer(part.name, part.required, 0.0, None)
    try:
        async with asyncio.timeout(part.seconds):
            await part.reach()
    except TimeoutError:
        answer = replace(answer, trouble="timeout")
    except DependencyError:
        answer = replace(answer, trouble="unavailable")
    except Exception as error:  # noqa: BLE001  # that it failed is the answer
        answer = replace(answer, trouble=type(error).__name__)
    return replace(answer, milliseconds=(time.perf_counter() - began) * 1000)
