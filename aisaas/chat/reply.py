"""One running reply: from the model to the log, to its followers, to its settling.

A reply belongs to this process and to its message, not to a tab. A pump task owns the upstream
call, so that stopping cancels exactly that. It takes in what arrives; a second task only waits for the
end, for a stop, or for a deadline. Text becomes visible to followers only after the tick has appended
it to the reply log (tick.py): what a user saw survives this process.

Thinking is a second text of the reply, logged and followed like the first. It is a sign of life: while
the model thinks, or anything else arrives, we wait for the first word, up to a separate limit.

Outages: if Redis goes down during a reply, followers here still get the text, and only a crash before
Redis is back could lose it; a Redis that comes back empty gets the whole text again. A failing provider
is replaced by the next admitted model until the first text or thought; after that, the received text
is kept and the reply is interrupted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from uuid import UUID

from aisaas.billing.ledger.models import Outcome
from aisaas.billing.providers.health import ANSWERED, STOPPED, Attempt
from aisaas.chat.circuits import Circuits
from aisaas.chat.endings import LENGTH, UNANNOUNCED, Ended, ended
from aisaas.chat.grant import Grant
from aisaas.chat.models import Segment
from aisaas.chat.pace import Pace
from aisaas.chat.ports import Admitted, Chunk, Finish, LanguageModel, ReplyLog, Text, Thinking
from aisaas.chat.settle import Produced, ProviderFailure, Settler
from aisaas.chat.tick import Tick
from aisaas.chat.track import Track, close, thinking_id
from aisaas.controls.kill_switch import EngagedScopes, scopes_of
from aisaas.errors import DependencyError, ProviderError
from aisaas.language_models import Model, Usage
from aisaas.observe import context
from aisaas.observe.metrics import PROVIDER_ERRORS
from aisaas.observe.tracing import span
from aisaas.text_cleaning import is_blank

log = logging.getLogger(__name__)

# Bounds the stored text, however few tokens it has.
MAX_CHARS = 1_000_000
# A timer that fires later than this shows that the process was held up.
LATE_SECONDS = 0.25
# Buffered chunks arrive without waiting: after so many, other tasks run.
CHUNKS_AT_ONCE = 16
SWITCHED_OFF = "switched_off"


@dataclass(frozen=True, slots=True)
class ReplyParts:
    """What running a reply needs."""

    settler: Settler
    model: LanguageModel
    log: ReplyLog
    tick: Tick
    # How long to wait for a first sign of life, and then for each next one.
    first_token_seconds: float
    # How long to wait for text while there are signs of life, or a model thinks in silence.
    thinking_seconds: float
    # The longest pause within text.
    token_gap_seconds: float
    circuits: Circuits
    # Called with each attempt at a provider.
    attempted: Callable[[Attempt], None]


class _Stop:
    """A request to end the reply."""

    def __init__(self, outcome: Outcome, reason: str | None = None) -> None:
        self.outcome: Outcome = outcome
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Before:
    """The existing part of a continued reply."""

    text: str = ""
    thinking: str = ""


NOTHING_BEFORE = Before()


class RunningReply:
    """A reply in this process: what it says, and what its model thinks."""

    def __init__(
        self,
        parts: ReplyParts,
        admitted: Admitted,
        conversation_id: UUID,
        message_id: UUID,
        before: Before = NOTHING_BEFORE,
    ) -> None:
        self.admitted = admitted
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.produced: Produced | None = None
        self._parts = parts
        self._before = before
        self.said = Track(message_id, self._facts, before=before.text)
        self.thought = Track(thinking_id(message_id), self._facts, before=before.thinking)
        # Text that doesn't fit isn't shown, and ends the call.
        self._grant = Grant(admitted.max_tokens, parts.model.count_tokens)
        self._beyond = ""
        self._over = False
        self._pump: asyncio.Task[ProviderError | None] | None = None
        # The upstream call has to be looked at: it ended, is to end, or has a new deadline.
        self._news = asyncio.Event()
        self._stop: _Stop | None = None
        self._answering: Model | None = None
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._pace = Pace()
        self._started = False
        # By the event loop's clock: the last sign of life and the last word, or the start.
        self._heard_at = self._word_at = 0.0
        self._thinking = False
        self._thought_seconds = 0.0
        # Seconds until the first word.
        self._waited: float | None = None
        self._failures: tuple[ProviderFailure, ...] = ()
        self._lost = False
        self._barred: frozenset[str] = frozenset()

    # Followers

    def follow(self, offset: int) -> AsyncIterator[Segment]:
        """Visible text from `offset` on, until the reply has settled."""
        return self.said.follow(offset)

    def text_from(self, offset: int) -> Segment:
        return self.said.visible_from(offset)

    def stop(self, outcome: Outcome = "stopped", reason: str | None = None) -> None:
        """Abort the upstream call now; the text so far is kept and settled."""
        if self._stop is not None or self._over:
            return
        self._stop = _Stop(outcome, reason)
        if self._pump is not None:
            self._pump.cancel()
        self._news.set()

    def apply_kill_switches(self, switches: EngagedScopes) -> None:
        """Don't fall back to a model these kill switches name, and stop the current one if they say
        so."""
        self._barred = switches.barred
        if switches.stopping & self._scopes(self._answering or self.admitted.models[0]):
            self.stop("stopped", SWITCHED_OFF)

    def mark_lease_lost(self) -> None:
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
        try:
            produced = await self._produce()
        except asyncio.CancelledError:
            produced = self._result("interrupted", "shutdown")
        except Exception:
            log.exception("reply %s failed in our own code", self.message_id)
            produced = self._result("interrupted" if self._came else "failed", "internal")
        await self._abort_pump()
        await self._parts.tick.leave(self.thought, self.said)
        self.produced = produced
        try:
            if not self._lost:
                await self._settle(produced)
        finally:
            self._over = True
            for track in (self.thought, self.said):
                track.end()
            for track in (self.thought, self.said):
                await close(self._parts.log, track.log_id)

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
            # The recovery books it from the log, retrying as needed.
            log.exception("reply %s could not be settled", self.message_id)
            with suppress(DependencyError):
                await settler.end_unbooked(self.message_id, produced.before + produced.text)

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
            if self._finish is not None or (self._stop is not None and self._came):
                circuits.succeeded(model)
            if self._stop is not None:
                self._tell(model, STOPPED if self._finish is None else ANSWERED)
                return self._result(self._stop.outcome, self._stop.reason)
            if error is None and self._finish is not None:
                self._tell(model, ANSWERED)
                return self._finished()
            kind = error.kind if error is not None else "cut"
            self._tell(model, kind)
            free = None if self._came else self._usage
            self._failures = (*self._failures, ProviderFailure(model, kind, free))
            circuits.failed(model, kind)
            PROVIDER_ERRORS.labels(model.provider, kind).inc()
            log.warning("model %s: %s after %d characters", model.id, kind, len(self.said.fresh))
            if self._came:
                return self._result("interrupted", kind)
            # Nothing was shown yet, so another model may answer instead.
        self._answering = None
        return self._result("failed", error.kind if error is not None else "cut")

    def _tell(self, model: Model, kind: str) -> None:
        if self._started:
            self._parts.attempted(self._pace.attempt(model, kind, self._usage))

    async def _attempt(self, model: Model) -> ProviderError | None:
        if self._stop is not None:
            return None
        self._started = False
        self._pace = Pace()
        self._heard_at = self._word_at = asyncio.get_running_loop().time()
        self._thinking, self._thought_seconds, self._waited = False, 0.0, None
        self._pump = pump = asyncio.create_task(self._pump_upstream(model))
        pump.add_done_callback(lambda _: self._news.set())
        try:
            return await self._until_end(pump)
        finally:
            await self._abort_pump()

    async def _until_end(self, pump: asyncio.Task[ProviderError | None]) -> ProviderError | None:
        loop = asyncio.get_running_loop()
        while True:
            deadline = self._deadline()
            late = False
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                late = True
            self._news.clear()
            if self._grant.spent:
                self._finish = LENGTH
                return None
            if len(self.said.text) + len(self.thought.text) > MAX_CHARS:
                return ProviderError("overrun")
            if self._stop is not None:
                return None
            if pump.done():
                return pump.result()
            if not late:
                continue
            self._heard_at = max(
                self._heard_at, self._parts.model.heard_at(self.admitted.request_id) or 0.0
            )
            if loop.time() > deadline + LATE_SECONDS:
                # This loop ran late: data that arrived may still be unread.
                self._heard_at = loop.time()
            if loop.time() >= self._deadline():
                return ProviderError(self._what_was_missed())

    def _take(self, chunk: Chunk) -> None:
        """Take in what the provider sent. Text that doesn't fit the grant is only counted."""
        self._heard_at = now = asyncio.get_running_loop().time()
        match chunk:
            case Text(text):
                first = not self.said.grew
                self._end_thinking(now)
                self._word_at = now
                self._pace.said(text)
                self._add(self.said, text)
                if first:
                    # From here on silence is waited for less long.
                    self._news.set()
            case Thinking(text):
                if not self.thought.grew:
                    # Which model answers is looked up in the log of what it says.
                    self._parts.tick.note(self.said)
                self._thinking = True
                self._pace.thought(text)
                self._add(self.thought, text)
            case Usage():
                self._usage = chunk
                self._parts.tick.note(self.said)
            case Finish(reason):
                self._finish = reason
        if self._grant.spent or len(self.said.text) + len(self.thought.text) > MAX_CHARS:
            self._news.set()

    def _add(self, track: Track, text: str) -> None:
        fits = self._grant.take(text)
        if len(fits) < len(text):
            self._beyond += text[len(fits) :]
        if fits:
            track.text += fits
            self._parts.tick.changed(track)

    def _deadline(self) -> float:
        """When the wait ends, by the loop's clock, if nothing arrives."""
        parts = self._parts
        if self.said.grew:
            silence = parts.token_gap_seconds
        elif self._thinks_in_silence():
            silence = parts.thinking_seconds
        else:
            silence = parts.first_token_seconds
        return min(self._heard_at + silence, self._word_at + parts.thinking_seconds)

    def _what_was_missed(self) -> str:
        """What an expired wait was for: any sign of life, or the first word after one."""
        too_long = asyncio.get_running_loop().time() >= self._word_at + self._parts.thinking_seconds
        thinking = self._heard_at > self._word_at or self._thinks_in_silence()
        return "thinking_timeout" if too_long and thinking else "timeout"

    def _thinks_in_silence(self) -> bool:
        """Whether silence may mean thinking: some providers send nothing until it is done."""
        return not self.said.grew and self._model_thinks()

    def _model_thinks(self) -> bool:
        return self._answering is not None and self._answering.thinks(self.admitted.effort)

    async def _pump_upstream(self, model: Model) -> ProviderError | None:
        # From here on the provider may be working for us, whether or not it has answered.
        self._started = True
        taken = 0
        try:
            async with aclosing(self._parts.model.stream(self.admitted, model)) as chunks:
                async for chunk in chunks:
                    self._take(chunk)
                    taken += 1
                    if taken % CHUNKS_AT_ONCE == 0:
                        await asyncio.sleep(0)
        except ProviderError as caught:
            return caught
        except Exception:
            log.exception("model adapter failed")
            return ProviderError("adapter")
        return None

    @property
    def _came(self) -> bool:
        """Whether anything was shown, so that no other model may answer instead."""
        return self.said.grew or self.thought.grew

    def _end_thinking(self, now: float) -> None:
        """The thinking time is the reader's wait: since the last word, or since the call."""
        since = now - self._word_at
        if self._waited is None:
            self._waited = since
        if self._thinking:
            self._thought_seconds += since
            self._thinking = False

    async def _abort_pump(self) -> None:
        pump, self._pump = self._pump, None
        if pump is None:
            return
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)

    def _scopes(self, model: Model) -> frozenset[str]:
        return scopes_of(plan=self.admitted.plan, model=model.id, provider=model.provider)

    def _finished(self) -> Produced:
        """The result when the provider has finished. Without visible text there is no answer."""
        assert self._finish is not None
        usage = self._usage
        unseen = usage is not None and usage.completion_tokens > 0 and self._finish == LENGTH
        thought = self.thought.grew or (usage is not None and usage.thinking_tokens > 0)
        return self._ended(
            ended(
                self._finish,
                has_text=bool(self._before.text) or not is_blank(self.said.fresh),
                thought=thought or unseen,
            )
        )

    def _result(self, outcome: Outcome, error_code: str | None = None) -> Produced:
        return self._ended(Ended(UNANNOUNCED[outcome], outcome, error_code))

    def _ended(self, end: Ended) -> Produced:
        self._end_thinking(asyncio.get_running_loop().time())
        thought_seconds = self._thought_seconds
        if not thought_seconds and self._usage is not None and self._usage.thinking_tokens:
            # The provider doesn't say when it thought, so use the time until its first word.
            thought_seconds = self._waited or 0.0
        return Produced(
            outcome=end.outcome,
            text=self.said.fresh,
            answered=self._answering,
            usage=self._usage,
            # A reply cut at the end of its grant has only reported usage until then.
            complete=self._finish is not None and not self._grant.spent,
            started=self._started,
            error_code=end.error_code,
            failures=self._failures,
            beyond=self._beyond,
            ending=end.ending,
            thinking=self.thought.fresh,
            thinking_seconds=thought_seconds or None,
            thinks=end.ending == "only_thinking" or self._model_thinks(),
            before=self._before.text,
        )

    def _facts(self) -> tuple[str, Usage | None]:
        return (self._answering or self.admitted.models[0]).id, self._usage
