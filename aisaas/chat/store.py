"""All of chat's SQL. What users do runs under their identity; `settle` and the recovery don't."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import LiteralString, TypeVar, cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select, tuple_

from aisaas.billing.job_failures.relations import NOT_DUE
from aisaas.billing.reservations.relations import RESERVATIONS
from aisaas.chat.models import Conversation, HistoryMessage, Message, Position, Thread, Versions
from aisaas.db.columns import Table
from aisaas.db.engine import PipelinedQuery, Row, Statement
from aisaas.db.paging import Cursor, Keyset, Moment, Page
from aisaas.language_models import Effort

_T = TypeVar("_T", bound=Table)


def _columns(table: type[Table]) -> LiteralString:
    """Of the class: a newer release of the product may have added others."""
    return cast("LiteralString", ", ".join(table.model_fields))


def _first(table: type[_T], rows: Sequence[Row]) -> _T | None:
    return table(**rows[0]) if rows else None


_CONVERSATION, _MESSAGE = _columns(Conversation), _columns(Message)

# Conversations ------------------------------------------------------------------------------------


_LISTED: Keyset[Conversation, datetime, UUID] = Keyset(
    "last_message_at", "id", lambda row: Cursor(row.last_message_at, row.id)
)


async def list_conversations(
    session: AsyncSession, user_id: UUID, *, before: Moment | None, limit: int
) -> Page[Conversation, datetime, UUID]:
    """The most recently used first; those after `before` if given."""
    query = (
        select(Conversation)
        .where(col(Conversation.user_id) == user_id, col(Conversation.deleted_at).is_(None))
        .order_by(col(Conversation.last_message_at).desc(), col(Conversation.id).desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(
            tuple_(col(Conversation.last_message_at), col(Conversation.id))
            < tuple_(before.at, before.id)
        )
    return _LISTED.cut((await session.scalars(query)).all(), limit)


def conversation(user_id: UUID, conversation_id: UUID) -> PipelinedQuery[Conversation | None]:
    """The user's own, not deleted. The user id check is in addition to row level security."""
    query: LiteralString = f"""
        select {_CONVERSATION} from public.conversations
        where id = %(id)s and user_id = %(user_id)s and deleted_at is null
        """  # noqa: S608  # columns of ours
    ids = {"id": conversation_id, "user_id": user_id}
    return PipelinedQuery(((query, ids),), lambda answers: _first(Conversation, answers[0]))


async def titles_of(session: AsyncSession, conversation_ids: Collection[UUID]) -> dict[UUID, str]:
    """Titles of those conversations the user still has."""
    query = select(Conversation.id, Conversation.title).where(
        col(Conversation.id).in_(conversation_ids), col(Conversation.deleted_at).is_(None)
    )
    return {row[0]: row[1] for row in (await session.execute(query)).all()}


async def change_conversation(
    session: AsyncSession,
    user_id: UUID,
    conversation_id: UUID,
    *,
    title: str | None = None,
    model: str | None = None,
) -> bool:
    row = await session.execute(
        text(
            """
            update public.conversations
            set title = coalesce(:title, title), model = coalesce(:model, model)
            where id = :id and user_id = :user_id and deleted_at is null returning 1
            """
        ),
        {"id": conversation_id, "user_id": user_id, "title": title, "model": model},
    )
    return row.first() is not None


async def set_effort(
    session: AsyncSession, user_id: UUID, conversation_id: UUID, effort: Effort | None
) -> bool:
    row = await session.execute(
        text(
            "update public.conversations set effort = :effort"
            " where id = :id and user_id = :user_id and deleted_at is null returning 1"
        ),
        {"id": conversation_id, "user_id": user_id, "effort": effort},
    )
    return row.first() is not None


async def set_deleted(
    session: AsyncSession, user_id: UUID, conversation_id: UUID, *, deleted: bool
) -> bool:
    row = await session.execute(
        text(
            """
            update public.conversations
            set deleted_at = case when :deleted then now() end
            where id = :id and user_id = :user_id and (deleted_at is null) = :deleted returning 1
            """
        ),
        {"id": conversation_id, "user_id": user_id, "deleted": deleted},
    )
    return row.first() is not None


# Messages -----------------------------------------------------------------------------------------


# All versions of the message `m`, oldest first.
_VERSIONS: LiteralString = """
    case when m.parent_id is null then array(
      select v.id from public.messages v
      where v.conversation_id = m.conversation_id and v.parent_id is null
      order by v.created_at, v.id
    ) else array(
      select v.id from public.messages v
      where v.conversation_id = m.conversation_id and v.parent_id = m.parent_id
      order by v.created_at, v.id
    ) end as versions
    """
# The last message of the path at a position.
_END: LiteralString = """
    select case
      when %(instead_of)s::uuid is not null
        then (select parent_id from public.messages where id = %(instead_of)s)
      else coalesce(%(after)s, c.leaf_id, (
        select id from public.messages where conversation_id = c.id
        order by created_at desc, id desc limit 1)) end
    from public.conversations c where c.id = %(id)s
    """


def _with_versions(rows: Sequence[Row]) -> tuple[Sequence[Message], Versions]:
    """Messages, and the versions of those that have others."""
    messages = [Message(**{name: row[name] for name in Message.model_fields}) for row in rows]
    return messages, {row["id"]: row["versions"] for row in rows if len(row["versions"]) > 1}


# A walk from the end of the path, message by message.
_PATH: LiteralString = f"""
    with recursive path (message, above, step) as (
      select id, parent_id, 1 from public.messages
      where conversation_id = %(id)s and id = ({_END})
      union all
      select m.id, m.parent_id, step + 1 from path join public.messages m on m.id = above
      where step < %(limit)s
    )
    select {_MESSAGE}, {_VERSIONS} from path join public.messages m on m.id = message order by step
    """  # noqa: S608  # columns of ours


def read_path(
    user_id: UUID, conversation_id: UUID, position: Position, *, limit: int
) -> PipelinedQuery[tuple[Conversation, Sequence[Message], Versions] | None]:
    """The last `limit` messages of a path, beginning with its end; None when the conversation isn't the
    user's, or is deleted."""
    found = conversation(user_id, conversation_id)
    place = {"id": conversation_id, "after": position.after, "instead_of": position.instead_of}

    def read(
        answers: Sequence[Sequence[Row]],
    ) -> tuple[Conversation, Sequence[Message], Versions] | None:
        held = found.read(answers[:1])
        return None if held is None else (held, *_with_versions(answers[1]))

    return PipelinedQuery((*found.statements, (_PATH, place | {"limit": limit})), read)


# From the message on, the newest version of each next one.
_SHOW_PATH: LiteralString = """
    with recursive path as (
      select id, 1 as step from public.messages
      where id = %(message_id)s and conversation_id = %(id)s
      union all
      select next.id, step + 1 from path cross join lateral (
        select m.id from public.messages m
        where m.conversation_id = %(id)s and m.parent_id = path.id
        order by m.created_at desc, m.id desc limit 1
      ) next
    )
    update public.conversations c set leaf_id = last.id
    from (select id, step from path order by step desc limit 1) last
    where c.id = %(id)s and c.user_id = %(user_id)s and c.deleted_at is null
    returning last.id as end, last.step as below
    """


@dataclass(frozen=True, slots=True)
class ShownPath:
    """The last message of a path, and how many there are from the message on that it was shown by."""

    end: UUID
    below: int


def show_path(
    user_id: UUID, conversation_id: UUID, message_id: UUID
) -> PipelinedQuery[ShownPath | None]:
    """Bring the path through a message into view; None when the conversation has no such message, isn't
    the user's, or is deleted."""
    ids = {"id": conversation_id, "user_id": user_id, "message_id": message_id}
    return PipelinedQuery(
        ((_SHOW_PATH, ids),),
        lambda answers: ShownPath(**answers[0][0]) if answers[0] else None,
    )


_THREAD: LiteralString = """
    select c.title, c.effort, %(position)s::uuid is null or exists (
      select 1 from public.messages m where m.id = %(position)s and m.conversation_id = c.id
    ) as position_found
    from public.conversations c
    where c.id = %(id)s and c.user_id = %(user_id)s and c.deleted_at is null
    """
_SAID: LiteralString = f"""
    with recursive path as (
      select id, role, content, reply_to, token_count, depth, parent_id, 1 as step
      from public.messages
      where conversation_id = %(id)s and id = ({_END})
      union all
      select m.id, m.role, m.content, m.reply_to, m.token_count, m.depth, m.parent_id, step + 1
      from path join public.messages m on m.id = path.parent_id
      where step < %(limit)s
    )
    select id, role, content, reply_to, token_count, depth from path order by step
    """  # noqa: S608  # fragments of ours


def read_thread(
    user_id: UUID, conversation_id: UUID, position: Position, *, limit: int
) -> PipelinedQuery[Thread | None]:
    """The last `limit` messages of a path; None when the conversation isn't the user's, or is deleted."""
    ids = {
        "id": conversation_id,
        "user_id": user_id,
        "position": position.after or position.instead_of,
    }
    places = {"id": conversation_id, "after": position.after, "instead_of": position.instead_of}

    def read(answers: Sequence[Sequence[Row]]) -> Thread | None:
        found, said = answers
        if not found:
            return None
        return Thread(**found[0], said=tuple(HistoryMessage(**row) for row in reversed(said)))

    return PipelinedQuery(((_THREAD, ids), (_SAID, places | {"limit": limit})), read)


_FIND_MESSAGE: LiteralString = f"""
    select {_MESSAGE} from public.messages where id = %(id)s and user_id = %(user_id)s
    """  # noqa: S608  # columns of ours


def message(user_id: UUID, message_id: UUID) -> PipelinedQuery[Message | None]:
    """The user's own."""
    ids = {"id": message_id, "user_id": user_id}
    return PipelinedQuery(((_FIND_MESSAGE, ids),), lambda answers: _first(Message, answers[0]))


class StoredMeanwhileError(Exception):
    """Messages with these ids exist already: the call arrived twice, and this is the second."""


_NEW_CONVERSATION: LiteralString = """
    insert into public.conversations (id, user_id, model, effort)
    values (%(id)s, %(user_id)s, %(model)s, %(effort)s)
    """
_USED_CONVERSATION: LiteralString = """
    update public.conversations
    set model = %(model)s, effort = %(effort)s, last_message_at = now(), leaf_id = null
    where id = %(id)s and user_id = %(user_id)s
    """
# `depth` tells the first message from one that doesn't say what it follows.
_QUESTION: LiteralString = """
    insert into public.messages (id, conversation_id, user_id, role, content, status, model,
      parent_id, depth)
    values (%(question_id)s, %(id)s, %(user_id)s, 'user', %(question)s, 'done', %(model)s,
      %(after)s, 0)
    """
_REPLY: LiteralString = """
    insert into public.messages (id, conversation_id, user_id, role, content, status, model,
      reply_to, parent_id, depth)
    values (%(reply_id)s, %(id)s, %(user_id)s, 'assistant', '', 'streaming', %(model)s,
      %(question_id)s, %(reply_after)s, 0)
    """
_TURN: LiteralString = f"""
    select {_MESSAGE}, {_VERSIONS} from public.messages m
    where m.id in (%(question_id)s, %(reply_id)s) and m.user_id = %(user_id)s
    """  # noqa: S608  # columns of ours


def start_reply(
    *,
    user_id: UUID,
    conversation_id: UUID,
    new_conversation: bool,
    model: str,
    effort: Effort | None = None,
    question_id: UUID,
    question: str | None,
    reply_id: UUID,
    after: UUID | None,
) -> PipelinedQuery[tuple[Message, Message, Versions]]:
    """Store the user's message and the empty reply, under the user's identity; both as stored, and their
    versions.

    `question` is None when an existing message is answered again. What is stored follows the message
    `after`, or is the first of the conversation, and comes into view. A `UniqueViolation` means that the
    call arrived twice: see `StoredMeanwhileError`.
    """
    parameters = {
        "id": conversation_id,
        "user_id": user_id,
        "model": model,
        "effort": effort,
        "question_id": question_id,
        "question": question,
        "reply_id": reply_id,
        "after": after,
        "reply_after": after if question is None else question_id,
    }
    asked: tuple[Statement, ...] = () if question is None else ((_QUESTION, parameters),)

    def read(answers: Sequence[Sequence[Row]]) -> tuple[Message, Message, Versions]:
        messages, versions = _with_versions(answers[-1])
        turn = {each.id: each for each in messages}
        return turn[question_id], turn[reply_id], versions

    return PipelinedQuery(
        (
            (_NEW_CONVERSATION if new_conversation else _USED_CONVERSATION, parameters),
            *asked,
            (_REPLY, parameters),
            # An `insert` can't return versions: it doesn't see the row that it inserts.
            (_TURN, parameters),
        ),
        read,
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """How a reply ended, as it is shown."""

    message_id: UUID
    content: str
    status: str
    answered_by: str | None
    token_count: int
    # Tokens of the question; None if the settling process doesn't know.
    question_tokens: int | None
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal
    quota_tokens: int
    overage_usd: Decimal
    history_cut: int | None
    error_code: str | None
    # None keeps the one before this call.
    ending: str | None
    thinking: str
    thinking_seconds: int | None
    thinking_tokens: int


async def end_reply(session: AsyncSession, ending: Ending) -> None:
    """End a reply that is still streaming, or that ended without being booked: the first ending
    counts. A continued reply's usage is added to its earlier usage."""
    await session.execute(
        text(
            """
            with ended as (
              update public.messages
              set content = :content, answered_by = :answered_by,
                status = case when cast(:ending as text) is not null then :status
                  when ending = 'stopped' then 'stopped' when ending = 'cut' then 'interrupted'
                  else 'done' end,
                token_count = :token_count,
                prompt_tokens = coalesce(prompt_tokens, 0) + :prompt_tokens,
                completion_tokens = coalesce(completion_tokens, 0) + :completion_tokens,
                cost_usd = coalesce(cost_usd, 0) + :cost_usd,
                quota_tokens = coalesce(quota_tokens, 0) + :quota_tokens,
                overage_usd = coalesce(overage_usd, 0) + :overage_usd,
                ending = coalesce(:ending, ending, 'limit'), thinking = left(thinking || :thinking, 2000000),
                thinking_tokens = coalesce(thinking_tokens, 0) + :thinking_tokens,
                thinking_seconds = case when cast(:thinking_seconds as integer) is null
                  then thinking_seconds
                  else coalesce(thinking_seconds, 0) + :thinking_seconds end,
                history_cut = coalesce(:history_cut, history_cut), error_code = :error_code
              where id = :message_id and (status = 'streaming' or error_code = 'unbooked')
              returning reply_to
            )
            update public.messages question
            set token_count = coalesce(cast(:question_tokens as integer), question.token_count)
            from ended where question.id = ended.reply_to
            """
        ),
        {name: getattr(ending, name) for name in Ending.__slots__},
    )


async def find_orphans(
    session: AsyncSession, older_than_seconds: float, limit: int
) -> Sequence[UUID]:
    """Orphaned streaming replies: their reservation is closed or never existed."""
    rows = await session.execute(
        text(
            f"""
            select m.id from public.messages m
            where m.status = 'streaming'
              and m.created_at < clock_timestamp() - make_interval(secs => :seconds)
              and not exists (
                select 1 from {RESERVATIONS} r where r.message_id = m.id and r.state = 'open'
              )
              and not exists (
                select 1 from {NOT_DUE} f
                where f.job = 'recover_replies' and f.item = 'message ' || m.id
              )
            order by m.created_at limit :limit
            """  # noqa: S608  # relations of ours
        ),
        {"seconds": older_than_seconds, "limit": limit},
    )
    return rows.scalars().all()


async def end_orphan(session: AsyncSession, message_id: UUID) -> bool:
    """End an orphan; False when it has ended in the meantime."""
    row = await session.execute(
        text(
            "update public.messages"
            " set status = 'interrupted', error_code = 'process_lost', ending = 'cut'"
            " where id = :id and status = 'streaming' returning 1"
        ),
        {"id": message_id},
    )
    return row.first() is not None


async def end_unbooked(
    session: AsyncSession, message_id: UUID, content: str, *, token_count: int, error_code: str
) -> None:
    """End a reply for its readers that can't be booked yet; it is booked later."""
    await session.execute(
        text(
            "update public.messages set content = :content, status = 'interrupted', ending = 'cut',"
            " token_count = :tokens, error_code = :code where id = :id and status = 'streaming'"
        ),
        {"id": message_id, "content": content, "tokens": token_count, "code": error_code},
    )


async def resume_reply(session: AsyncSession, user_id: UUID, message_id: UUID, length: int) -> bool:
    """Let a reply stream again only if it ended early with `length` characters. It keeps its ending,
    in case nothing more comes."""
    row = await session.execute(
        text(
            """
            update public.messages
            set status = 'streaming', continued_from = :length
            where id = :id and user_id = :user_id and status <> 'streaming'
              and ending in ('limit', 'stopped', 'cut') and error_code is distinct from 'unbooked'
              and char_length(content) = :length
            returning 1
            """
        ),
        {"id": message_id, "user_id": user_id, "length": length},
    )
    return row.first() is not None


@dataclass(frozen=True, slots=True)
class Unbooked:
    """`question` is None when its tokens are known."""

    question: str | None
    content: str
    thinking: str
    continued_from: int


async def unsettled(session: AsyncSession, message_id: UUID) -> Unbooked | None:
    """A reply as stored, with its question's text if that hasn't been counted yet."""
    row = await session.execute(
        text(
            """
            select case when q.token_count = 0 then q.content end as question, m.content, m.thinking,
              m.continued_from
            from public.messages m left join public.messages q on q.id = m.reply_to
            where m.id = :id
            """
        ),
        {"id": message_id},
    )
    found = row.mappings().one_or_none()
    return Unbooked(**found) if found is not None else None


async def set_title(
    session: AsyncSession, conversation_id: UUID, title: str, *, instead_of: str
) -> bool:
    """Set a title; False when the user set one in the meantime, which stays."""
    row = await session.execute(
        text(
            "update public.conversations set title = :title"
            " where id = :id and title = :old returning 1"
        ),
        {"id": conversation_id, "title": title, "old": instead_of},
    )
    return row.first() is not None
