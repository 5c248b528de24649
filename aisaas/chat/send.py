"""Sending a message, from the click to the last word: admit, start, follow, settle.

    admit    every guard passes, and the worst case is reserved        (guards.py)
    start    the question and an empty reply are stored; the reply runs (reply.py)
    follow   any tab reads it, from wherever it is                     (here)
    settle   text, ledger, outbox and reservation in one transaction   (settle.py)

Then the conversation gets a title, through the same guards (titles.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4, uuid5

from psycopg.errors import UniqueViolation

from aisaas.accounts.models import Principal
from aisaas.billing.providers.health import Attempt
from aisaas.billing.reservations.refusals import Refusals
from aisaas.callers import Caller
from aisaas.chat import store
from aisaas.chat.circuits import Circuits
from aisaas.chat.endings import can_continue
from aisaas.chat.guards import AdmissionContext, ReplyRequest, admit, release
from aisaas.chat.models import Message, Position, Segment, Started
from aisaas.chat.ports import LanguageModel, ReplyLog
from aisaas.chat.reply import NOTHING_BEFORE, Before, RunningReply
from aisaas.chat.running import RunningReplies
from aisaas.chat.settle import Settler
from aisaas.chat.titles import UNTITLED, TitleParts, make_title
from aisaas.chat.track import Track, thinking_id
from aisaas.db.engine import both
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    DependencyError,
    MessageInvalid,
    NotFound,
    Refusal,
    Restarting,
    Unavailable,
)
from aisaas.language_models import Effort
from aisaas.observe import context
from aisaas.observe.metrics import ADMISSION_SECONDS, REFUSALS
from aisaas.observe.tracing import span
from aisaas.text_cleaning import is_blank

log = logging.getLogger(__name__)

# How often a follower of a reply in another process polls the database.
ELSEWHERE_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Names:
    """The ids of what a call will store. A named attempt gets the same ids each time, so the primary
    keys reveal a repeat."""

    conversation: UUID = field(default_factory=uuid4)
    question: UUID = field(default_factory=uuid4)
    reply: UUID = field(default_factory=uuid4)

    @classmethod
    def of(cls, user_id: UUID, attempt: str) -> _Names:
        # Under the user's own id: another user can't use a name they learned.
        return cls(*(uuid5(user_id, f"{kind}:{attempt}") for kind in ("chat", "asked", "reply")))


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of a reply's two texts, in the three places where it may be."""

    running: Callable[[RunningReply], Track]
    log_id: Callable[[UUID], UUID]
    stored: Callable[[Message], str]


SAID = _Kind(lambda reply: reply.said, lambda message_id: message_id, lambda row: row.content)
THOUGHT = _Kind(lambda reply: reply.thought, thinking_id, lambda row: row.thinking)


@dataclass(frozen=True, slots=True)
class ChatParts:
    context: AdmissionContext
    user: UserDatabase
    settler: Settler
    model: LanguageModel
    log: ReplyLog
    running: RunningReplies
    refusals: Refusals
    # The same that replies have.
    circuits: Circuits
    attempted: Callable[[Attempt], None]
    # Returns those of the given sessions that have ended; see `Accounts.ended`.
    ended: Callable[[Collection[UUID]], AsyncGenerator[UUID]]


class Chat:
    """Conversations with models, behind the guards."""

    def __init__(self, parts: ChatParts) -> None:
        self._parts = parts
        self._title_parts = TitleParts(
            parts.context,
            parts.settler,
            parts.model,
            parts.log,
            parts.running.keep_lease,
            parts.circuits,
            parts.attempted,
        )
        self._titles: dict[UUID, asyncio.Task[str | None]] = {}
        # Named attempts in progress, by the id of their reply.
        self._sending: dict[UUID, asyncio.Task[Started]] = {}

    async def send(
        self,
        caller: Caller,
        text: str,
        *,
        conversation_id: UUID | None,
        model: str,
        effort: Effort | None = None,
        attempt: str = "",
        after: UUID | None = None,
    ) -> Started:
        """Send a message and start its reply; a new conversation when no id is given.

        Args:
            effort: the requested thinking effort; None leaves it to the model.
            after: the message it follows, which the sender sees last; None for the last in view.
            attempt: the sender's name for this attempt. A client without a response may send it
                again: a repeat with the same name is the same call, whenever and wherever it arrives.

        Raises:
            Refusal: nothing was stored and nothing was consumed.
        """
        call = ReplyRequest(
            caller=caller,
            purpose="reply",
            text=text,
            model_id=model,
            conversation_id=conversation_id,
            position=Position(after=after),
            effort=effort,
        )
        return await self._send(call, attempt)

    async def edit(
        self,
        caller: Caller,
        message_id: UUID,
        text: str,
        *,
        model: str | None = None,
        attempt: str = "",
    ) -> Started:
        """Send another version of a question; the earlier one stays, with all that follows it.

        Args:
            model: None asks the same one.
            attempt: as for `send`.

        Raises:
            Refusal: nothing was stored and nothing was consumed.
        """
        question = await self.message(caller, message_id)
        if question.role != "user":
            raise NotFound("That message can't be edited.")
        call = ReplyRequest(
            caller=caller,
            purpose="reply",
            text=text,
            model_id=model or question.model or "",
            conversation_id=question.conversation_id,
            position=Position(instead_of=question.id),
            effort_as_stored=True,
        )
        return await self._send(call, attempt)

    async def _send(self, call: ReplyRequest, attempt: str) -> Started:
        names = _Names.of(call.caller.user_id, attempt) if attempt else _Names()
        call = replace(call, message_id=names.reply)
        if not attempt:
            return await self._shielded(self._admit_or_count(call, names))
        flight = self._sending.get(names.reply)
        if flight is None:
            flight = self._parts.running.spawn(self._send_once(call, names))
            self._sending[names.reply] = flight
            flight.add_done_callback(lambda _: self._sending.pop(names.reply, None))
        started: Started = await asyncio.shield(flight)
        if started.question.content != call.text:
            raise MessageInvalid("Your message changed after it was sent. Send it again.")
        return started

    async def retry(self, caller: Caller, message_id: UUID, *, model: str | None = None) -> Started:
        """Answer the same question again, below the earlier reply, which stays charged."""
        earlier = await self.message(caller, message_id)
        return await self._answer_again(caller, earlier, earlier.id, model)

    async def regenerate(
        self, caller: Caller, message_id: UUID, *, model: str | None = None
    ) -> Started:
        """Generate another version of a reply; the earlier one stays, and stays charged."""
        earlier = await self.message(caller, message_id)
        if earlier.status == "streaming":
            raise NotFound("That reply is still running. Stop it first, or wait until it ends.")
        return await self._answer_again(caller, earlier, earlier.parent_id, model)

    async def _answer_again(
        self, caller: Caller, earlier: Message, after: UUID | None, model: str | None
    ) -> Started:
        if earlier.role != "assistant" or earlier.reply_to is None:
            raise NotFound("That message can't be retried.")
        question = await self.message(caller, earlier.reply_to)
        call = ReplyRequest(
            caller=caller,
            purpose="reply",
            text=question.content,
            model_id=model or earlier.model or "",
            conversation_id=earlier.conversation_id,
            position=Position(instead_of=question.id),
            question_id=question.id,
            reply_after=after,
            message_id=uuid4(),
            effort_as_stored=True,
        )
        return await self._shielded(self._admit_or_count(call, _Names()))

    async def go_on(self, caller: Caller, message_id: UUID) -> Started:
        """Continue a reply that was stopped, was cut, or reached its limit, in the same message: a
        separate call, reserved and charged in addition to the first. Returns the reply if it is running
        already.

        Raises:
            Refusal: nothing was consumed, and the reply is as it was.
        """
        return await self._shielded(self._go_on(caller, message_id))

    async def _go_on(self, caller: Caller, message_id: UUID) -> Started:
        reply = await self.message(caller, message_id)
        if reply.role != "assistant" or reply.reply_to is None:
            raise NotFound("That message can't be continued.")
        question = await self.message(caller, reply.reply_to)
        started = Started(
            conversation_id=reply.conversation_id,
            new_conversation=False,
            question=question,
            reply=reply,
        )
        if reply.status == "streaming":
            return started
        if not can_continue(reply):
            raise NotFound("That reply is complete. Send a message to go on.")
        call = ReplyRequest(
            caller=caller,
            purpose="reply",
            text=question.content,
            model_id=reply.model or "",
            conversation_id=reply.conversation_id,
            position=Position(instead_of=question.id),
            question_id=question.id,
            message_id=reply.id,
            effort_as_stored=True,
            continued=reply.content,
        )
        return await self._admit_or_count(call, _Names(reply=reply.id), started)

    async def follow(
        self, principal: Principal, message_id: UUID, offset: int = 0
    ) -> AsyncIterator[Segment]:
        """Text of a reply from `offset` (characters) on, until it is over, wherever it runs."""
        async for segment in self._follow(principal, message_id, offset, SAID):
            yield segment

    async def follow_thinking(
        self, principal: Principal, message_id: UUID, offset: int = 0
    ) -> AsyncIterator[Segment]:
        """As `follow`, for the model's thinking."""
        async for segment in self._follow(principal, message_id, offset, THOUGHT):
            yield segment

    async def _follow(
        self, principal: Principal, message_id: UUID, offset: int, kind: _Kind
    ) -> AsyncIterator[Segment]:
        running = self._running_of(principal, message_id)
        if running is not None:
            async for segment in kind.running(running).follow(offset):
                yield segment
            return
        message = await self.message(principal, message_id)
        while message.status == "streaming":
            try:
                async for entry in self._parts.log.follow(kind.log_id(message_id), offset):
                    yield Segment(entry.offset, entry.text)
                    offset = entry.offset + len(entry.text)
            except DependencyError:
                log.info("following reply %s without its log", message_id)
            await asyncio.sleep(ELSEWHERE_POLL_SECONDS)
            message = await self.message(principal, message_id)
        if len(kind.stored(message)) > offset:
            yield Segment(offset, kind.stored(message)[offset:])

    async def text_from(self, principal: Principal, message_id: UUID, offset: int) -> Segment:
        """What a tab missed: the current text from `offset` on."""
        return await self._from(principal, message_id, offset, SAID)

    async def thinking_from(self, principal: Principal, message_id: UUID, offset: int) -> Segment:
        return await self._from(principal, message_id, offset, THOUGHT)

    async def _from(
        self, principal: Principal, message_id: UUID, offset: int, kind: _Kind
    ) -> Segment:
        offset = max(offset, 0)
        running = self._running_of(principal, message_id)
        if running is not None:
            return kind.running(running).visible_from(offset)
        message = await self.message(principal, message_id)
        if message.status == "streaming":
            try:
                logged = await self._parts.log.read(kind.log_id(message_id))
            except DependencyError as error:
                raise Unavailable from error
            return Segment(offset, logged.text[offset:] if logged else "")
        return Segment(offset, kind.stored(message)[offset:])

    def _running_of(self, principal: Principal, message_id: UUID) -> RunningReply | None:
        """The reply, if it is theirs and runs in this process."""
        running = self._parts.running.get(message_id)
        if running is None or running.admitted.user_id != principal.user_id:
            return None
        return running

    async def message(self, principal: Principal, message_id: UUID) -> Message:
        """The stored message. Raises NotFound when it isn't theirs."""
        wanted = store.message(principal.user_id, message_id)
        try:
            message = await self._parts.user.fetch_as(principal.user_id, wanted)
        except DependencyError as error:
            raise Unavailable from error
        if message is None:
            raise NotFound("That message no longer exists.")
        return message

    async def stop(self, principal: Principal, message_id: UUID) -> None:
        """Stop a running reply; the text so far is kept and charged."""
        message = await self.message(principal, message_id)
        if message.status != "streaming":
            return
        try:
            await self._parts.running.stop(message_id)
        except DependencyError as error:
            raise Unavailable from error

    def makes_title(self, conversation_id: UUID) -> bool:
        """Whether the conversation is about to get a title in this process."""
        return conversation_id in self._titles

    async def title_ready(self, principal: Principal, conversation_id: UUID) -> str | None:
        """The conversation's title, once it has one that is not the first; None if none comes.

        Waits for a title that is being made in this process.
        """
        # Looked up before the database: a title that ends in between is then read from there.
        task = self._titles.get(conversation_id)
        wanted = store.conversation(principal.user_id, conversation_id)
        try:
            found = await self._parts.user.fetch_as(principal.user_id, wanted)
        except DependencyError as error:
            raise Unavailable from error
        if found is None:
            raise NotFound
        if task is not None:
            try:
                return await asyncio.shield(task)
            except DependencyError:
                # The task's owner logs it; the conversation keeps its first title.
                return None
        return found.title if found.title != UNTITLED else None

    async def _shielded(self, work: object) -> Started:
        # A tab that goes away between the reservation and the start must not leave half of it.
        task = self._parts.running.spawn(work)  # pyright: ignore[reportArgumentType]
        return await asyncio.shield(task)

    async def _send_once(self, call: ReplyRequest, names: _Names) -> Started:
        started = await self._started_before(call, names)
        if started is not None:
            return started
        try:
            return await self._admit_or_count(call, names)
        except store.StoredMeanwhileError:
            # It arrived at another process too.
            started = await self._started_before(call, names)
            if started is None:
                raise Unavailable from None
            return started

    async def _started_before(self, call: ReplyRequest, names: _Names) -> Started | None:
        """What an attempt with the same name started. Only finds the user's own."""
        user_id = call.caller.user_id
        turn = both(
            store.message(user_id, names.question),
            store.message(user_id, names.reply),
            lambda question, reply: (question, reply),
        )
        try:
            question, reply = await self._parts.user.fetch_as(user_id, turn)
        except DependencyError as error:
            raise Unavailable from error
        if question is None or reply is None:
            return None
        return Started(
            conversation_id=reply.conversation_id,
            new_conversation=call.conversation_id is None,
            question=question,
            reply=reply,
        )

    async def _admit_or_count(
        self, call: ReplyRequest, names: _Names, resumed: Started | None = None
    ) -> Started:
        reply = call.message_id or names.reply
        try:
            with context.entered(reply=reply), span("chat.send"):
                return await self._admit_and_start(call, names, resumed)
        except Refusal as refusal:
            REFUSALS.labels(refusal.code).inc()
            # The browser may send any model name; unknown ones are not stored.
            asked = self._parts.context.catalogue.get(call.model_id)
            self._parts.refusals.record(
                call.caller.user_id, refusal.code, asked.id if asked is not None else None
            )
            raise

    async def _admit_and_start(
        self, call: ReplyRequest, names: _Names, resumed: Started | None
    ) -> Started:
        """Args: `resumed` is the reply to continue; None for a new one."""
        if self._parts.running.closing:
            raise Restarting
        with ADMISSION_SECONDS.time(), span("chat.admit"):
            call, admitted = await admit(self._parts.context, call)
        try:
            with span("chat.start"):
                started = await (
                    self._store(call, names) if resumed is None else self._resume(call, resumed)
                )
        except BaseException as error:
            await release(self._parts.context, call)
            if isinstance(error, DependencyError):
                raise Unavailable from error
            raise
        before = NOTHING_BEFORE
        if resumed is not None:
            before = Before(resumed.reply.content, resumed.reply.thinking)
        reply = self._parts.running.start(
            admitted, started.conversation_id, started.reply.id, before
        )
        if resumed is None and (call.thread is None or call.thread.title == UNTITLED):
            self._title_when_answered(call, started, reply)
        return started

    async def _resume(self, call: ReplyRequest, resumed: Started) -> Started:
        """Raises NotFound when the reply was continued already, or has changed."""
        reply = resumed.reply
        if not await self._parts.settler.resume(call.caller.user_id, reply.id, reply.content):
            raise NotFound("That reply goes on already.")
        try:
            # The first call's remaining entries would be taken for this one's.
            for log_id in (reply.id, thinking_id(reply.id)):
                await self._parts.log.forget(log_id)
        except DependencyError:
            log.warning("reply %s goes on with the log of its first part", reply.id)
        return replace(resumed, reply=await self.message(call.caller, reply.id))

    async def _store(self, call: ReplyRequest, names: _Names) -> Started:
        assert call.message_id is not None
        conversation_id = call.conversation_id or names.conversation
        after = call.reply_after
        if call.question_id is None:
            after = call.thread.last if call.thread is not None else None
        user_id = call.caller.user_id
        start = store.start_reply(
            user_id=user_id,
            conversation_id=conversation_id,
            new_conversation=call.conversation_id is None,
            model=call.models[0].id,
            effort=call.effort,
            question_id=call.question_id or names.question,
            question=call.text if call.question_id is None else None,
            reply_id=call.message_id,
            after=after,
        )
        try:
            question, reply, versions = await self._parts.user.fetch_as(user_id, start)
        except UniqueViolation as error:
            raise store.StoredMeanwhileError from error
        return Started(
            conversation_id=conversation_id,
            new_conversation=call.conversation_id is None,
            question=question,
            reply=reply,
            versions=versions,
        )

    def _title_when_answered(
        self, call: ReplyRequest, started: Started, reply: RunningReply
    ) -> None:
        conversation_id = started.conversation_id
        if conversation_id in self._titles:
            return

        async def title() -> str | None:
            # After the answer, so that the title never takes the allowance away from it.
            async for _ in reply.follow(0):
                pass
            produced = reply.produced
            if produced is None or produced.outcome == "failed" or is_blank(produced.text):
                # A user without an answer isn't charged for a title; the next answer makes one.
                return None
            async with aclosing(self._parts.ended([call.caller.session_id])) as ended:
                async for _ in ended:
                    # A user who was signed out or suspended by now causes no more calls.
                    return None
            return await make_title(self._title_parts, call.caller, conversation_id, call.text)

        task = self._parts.running.spawn(title())
        self._titles[conversation_id] = task
        task.add_done_callback(lambda _: self._titles.pop(conversation_id, None))
