"""One running reply: from the model to the log, to whoever follows, to its settling.

A reply belongs to this process and to its message, not to a tab. A pump task owns the upstream
call, so that stopping cancels exactly that. Text becomes visible to followers only after it was
appended to the reply log: what somebody saw survives this process.

Outages: without Redis in the middle of a reply the text goes on to followers here, and only a crash
before Redis is back could lose it; a Redis that comes back empty gets all of it once more. A failing provider is replaced by the next admitted model until
the first text; after it, what came is kept and the reply is interrupted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from uuid import UUID

from aisaas.admin.limits import EngagedScopes, scopes_of
from aisaas.chat.circuits import Circuits
from aisaas.chat.grant import Grant
from aisaas.chat.models import Segment
from aisaas.chat.settle import Produced, ProviderFailure, Settler
from aisaas.errors import DependencyError, ProviderError
from aisaas.observe import context
from aisaas.observe.metrics import PROVIDER_ERRORS
from aisaas.observe.tracing import span
from aisaas.ports import (
    Admitted,
    Chunk,
    Finish,
    LanguageModel,
    LogEntry,
    Model,
    Outcome,
    ReplyLog,
    Text,
    Thinking,
    Usage,
)
from aisaas.text_cleaning import is_blank

log = logging.getLogger(__name__)

# Text is made visible this often; shorter is smoother and costs a round trip to Redis each time.
FLUSH_SECONDS = 0.065
# While no text comes, how often the log is asked whether it still has what was written.
LOOK_SECONDS = 1.0
# However few tokens it is: what is stored is bounded.
MAX_CHARS = 1_000_000
# How a provider says that it has reached its limit, and we say it of one that doesn't heed it.
LENGTH = "length"
SWITCHED_OFF = "switched_off"
# A reply without a word, by what the provider said of its end.
NOTHING = {"content_filter": "filtered", "refusal": "filtered"}


@dataclass(frozen=True, slots=True)
class ReplyParts:
    """What running a reply needs."""

    settler: Settler
    model: LanguageModel
    log: ReplyLog
    first_token_seconds: float
    token_gap_seconds: float
    circuits: Circuits = field(default_factory=Circuits)


class _End:
    """The pump's last word: the upstream call is over, with an error or without."""

    def __init__(self, error: ProviderError | None) -> None:
        self.error = error


class _Stop:
    """Somebody asked for the end."""

    def __init__(self, outcome: Outcome, reason: str | None = None) -> None:
        self.outcome: Outcome = outcome
        self.reason = reason


class RunningReply:
    """A reply in this process. `text[:visible]` is what followers may see."""

    def __init__(
        self, parts: ReplyParts, admitted: Admitted, conversation_id: UUID, message_id: UUID
    ) -> None:
        self.admitted = admitted
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.produced: Produced | None = None
        self._parts = parts
        self._text = ""
        # What doesn't fit is shown to nobody; it ends the call.
        self._grant = Grant(admitted.max_tokens, parts.model.count_tokens)
        self._beyond = ""
        self._visible = 0
        self._logged: int = 0
        self._over = False
        self._changed = asyncio.Event()
        self._more = asyncio.Event()
        self._ending = asyncio.Event()
        self._queue: asyncio.Queue[Chunk | _End | _Stop] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._stop: _Stop | None = None
        self._answering: Model | None = None
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._started = False
        self._failures: tuple[ProviderFailure, ...] = ()
        self._lost = False
        self._barred: frozenset[str] = frozenset()

    # Followers

    async def follow(self, offset: int) -> AsyncIterator[Segment]:
        """Visible text from `offset` on, until the reply has settled."""
        while True:
            changed = self._changed
            if self._visible > offset:
                text = self._text[offset : self._visible]
                yield Segment(offset, text)
                offset += len(text)
                continue
            if self._over:
                return
            await changed.wait()

    def text_from(self, offset: int) -> Segment:
        return Segment(offset, self._text[offset : self._visible])

    def stop(self, outcome: Outcome = "stopped", reason: str | None = None) -> None:
        """Abort the upstream call now; what came so far is kept and settled."""
        if self._stop is not None or self._over:
            return
        self._stop = _Stop(outcome, reason)
        if self._pump is not None:
            self._pump.cancel()
        self._queue.put_nowait(self._stop)

    def heed(self, switches: EngagedScopes) -> None:
        """Kill switches: no other model that they name is turned to, and the one that is asked now
        is stopped if they say so."""
        self._barred = switches.barred
        if switches.stopping & self._scopes(self._answering or self.admitted.models[0]):
            self.stop("stopped", SWITCHED_OFF)

    def lose(self) -> None:
        """Another process took this reply over: end without settling."""
        self._lost = True
        self.stop("interrupted", "lease_lost")

    # The task

    async def run(self) -> None:
        """Produce, then settle, whatever happens. Cancelling it settles as interrupted."""
        context.add(user=self.admitted.user_id, reply=self.message_id)
        with span("reply", model=self.admitted.models[0].id) as traced:
            await self._run()
            assert self.produced is not None
            traced.note(outcome=self.produced.outcome, characters=len(self.produced.text))

    async def _run(self) -> None:
        flusher = asyncio.create_task(self._flush_as_text_comes())
        try:
            produced = await self._produce()
        except asyncio.CancelledError:
            produced = self._result("interrupted", "shutdown")
        except Exception:
            log.exception("reply %s failed in our own code", self.message_id)
            produced = self._result("interrupted" if self._text else "failed", "internal")
        await self._abort_pump()
        # Asked to end, not cancelled: a cancelled write leaves open whether it was written.
        self._ending.set()
        self._more.set()
        await flusher
        await self._flush()
        self.produced = produced
        try:
            if not self._lost:
                await self._settle(produced)
        finally:
            self._over = True
            self._wake()
            await self._close_log()

    async def _settle(self, produced: Produced) -> None:
        settler = self._parts.settler
        try:
            await settler.settle(
                self.admitted,
                produced,
                conversation_id=self.conversation_id,
                message_id=self.message_id,
            )
        except Exception:
            # The recovery books it from the log, as often as it takes.
            log.exception("reply %s could not be settled", self.message_id)
            with suppress(DependencyError):
                await settler.end_unbooked(self.message_id, produced.text)

    async def _produce(self) -> Produced:
        error: ProviderError | None = None
        circuits = self._parts.circuits
        for model in circuits.order(self.admitted.models):
            if self._barred & self._scopes(model):
                error = error or ProviderError(SWITCHED_OFF)
                continue
            self._answering = model
            self._usage = None
            self._finish = None
            error = await self._attempt(model)
            if self._finish is not None or (self._stop is not None and self._text):
                circuits.succeeded(model)
            if self._stop is not None:
                return self._result(self._stop.outcome, self._stop.reason)
            if error is None and self._finish is not None:
                return self._finished()
            kind = error.kind if error is not None else "cut"
            free = None if self._text else self._usage
            self._failures = (*self._failures, ProviderFailure(model, kind, free))
            circuits.failed(model, kind)
            PROVIDER_ERRORS.labels(model.provider, kind).inc()
            log.warning("model %s: %s after %d characters", model.id, kind, len(self._text))
            if self._text:
                return self._result("interrupted", kind)
            # Nothing was shown yet, so another model may answer instead.
        self._answering = None
        return self._result("failed", error.kind if error is not None else "cut")

    async def _attempt(self, model: Model) -> ProviderError | None:
        self._queue = asyncio.Queue()
        if self._stop is not None:
            return None
        self._started = False
        self._pump = asyncio.create_task(self._pump_upstream(model, self._queue))
        try:
            return await self._read_until_end()
        finally:
            await self._abort_pump()
            if self._grant.spent:
                self._take_unread()

    def _take_unread(self) -> None:
        """What came before the call was cut counts, although nobody gets it."""
        while not self._queue.empty():
            match self._queue.get_nowait():
                case Text(text):
                    self._beyond += text
                case Usage() as usage:
                    self._usage = usage
                case _:
                    pass

    async def _read_until_end(self) -> ProviderError | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._parts.first_token_seconds
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    item = await self._queue.get()
            except TimeoutError:
                return ProviderError("timeout")
            match item:
                case Text(text):
                    self._take(text)
                    if self._grant.spent:
                        self._finish = LENGTH
                        return None
                    if len(self._text) > MAX_CHARS:
                        return ProviderError("overrun")
                    deadline = loop.time() + self._parts.token_gap_seconds
                case Thinking():
                    deadline = loop.time() + self._parts.token_gap_seconds
                case Usage():
                    self._started = True
                    self._usage = item
                    await self._note(usage=item)
                case Finish(reason):
                    self._finish = reason
                case _End():
                    return item.error
                case _Stop():
                    return None

    async def _pump_upstream(
        self, model: Model, queue: asyncio.Queue[Chunk | _End | _Stop]
    ) -> None:
        error: ProviderError | None = None
        # From here on the provider may be working for us, whether or not it has answered.
        self._started = True
        try:
            async with aclosing(self._parts.model.stream(self.admitted, model)) as chunks:
                async for chunk in chunks:
                    queue.put_nowait(chunk)
                    # What is buffered comes without waiting: everybody else gets a turn as well.
                    await asyncio.sleep(0)
        except ProviderError as caught:
            error = caught
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("model adapter failed")
            error = ProviderError("adapter")
        queue.put_nowait(_End(error))

    def _take(self, text: str) -> None:
        fits = self._grant.take(text)
        self._text += fits
        self._beyond += text[len(fits) :]
        self._more.set()

    async def _abort_pump(self) -> None:
        pump, self._pump = self._pump, None
        if pump is None:
            return
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)

    def _scopes(self, model: Model) -> frozenset[str]:
        return scopes_of(plan=self.admitted.plan, model=model.id, provider=model.provider)

    def _finished(self) -> Produced:
        """The provider says that this is all. Nothing that could be read is no answer."""
        if not is_blank(self._text):
            return self._result("done")
        return self._result("failed", NOTHING.get(self._finish or "", "empty"))

    def _result(self, outcome: Outcome, error_code: str | None = None) -> Produced:
        return Produced(
            outcome=outcome,
            text=self._text,
            answered=self._answering,
            usage=self._usage,
            # One that was cut where its grant ended has reported no more than what came until then.
            complete=self._finish is not None and not self._grant.spent,
            started=self._started,
            error_code=error_code,
            failures=self._failures,
            beyond=self._beyond,
        )

    # The log

    async def _flush_as_text_comes(self) -> None:
        noted: Model | None = None
        while not self._ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._more.wait()
            if not self._more.is_set():
                await self._look_after_log()
                continue
            self._more.clear()
            if self._answering is not noted and self._answering is not None:
                noted = self._answering
                await self._note(model=noted.id)
            await self._flush()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._ending.wait()

    async def _flush(self) -> None:
        end = len(self._text)
        if end == self._logged:
            return
        if await self._write([LogEntry(self._logged, self._text[self._logged : end])], end):
            self._logged = end
        # What is missing in the log goes there with the next flush that gets through.
        self._visible = end
        self._wake()

    async def _look_after_log(self) -> None:
        if self._logged:
            await self._write([], self._logged)

    async def _write(self, entries: Sequence[LogEntry], end: int) -> bool:
        """Add to the log; whether all of the text up to `end` is there now.

        Redis may have lost what was there: then everything that this process still has goes there
        once more, and with it the facts beside it.
        """
        log_of, message_id = self._parts.log, self.message_id
        try:
            if not await log_of.append(message_id, entries):
                log.warning("the log of reply %s is gone; it is written again", message_id)
                answering = self._answering or self.admitted.models[0]
                await log_of.note(message_id, model=answering.id, usage=self._usage)
                await log_of.append(message_id, [LogEntry(0, self._text[:end])])
        except DependencyError:
            log.warning("reply %s goes on without its log", message_id)
            return False
        except Exception:
            # Whatever it is about this text, whoever reads it here goes on reading.
            log.exception("reply %s could not be logged", message_id)
            return False
        return True

    async def _note(self, *, model: str | None = None, usage: Usage | None = None) -> None:
        try:
            await self._parts.log.note(self.message_id, model=model, usage=usage)
        except DependencyError:
            log.warning("reply %s goes on without its log", self.message_id)
        except Exception:
            log.exception("facts of reply %s could not be logged", self.message_id)

    async def _close_log(self) -> None:
        try:
            await self._parts.log.close(self.message_id)
        except DependencyError:
            log.warning("log of reply %s left to expire", self.message_id)
        except Exception:
            log.exception("the log of reply %s could not be closed", self.message_id)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
