"""All of chat's SQL. What users do runs under their identity; `settle` and the recovery don't."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

from psycopg.errors import UniqueViolation
from sqlalchemy import ColumnElement, literal, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select, tuple_

from aisaas.billing.job_failures.relations import NOT_DUE
from aisaas.billing.reservations.relations import RESERVATIONS
from aisaas.chat.models import Conversation, HistoryMessage, Message, Position, Thread, Versions
from aisaas.db.engine import PipelinedQuery, Row
from aisaas.db.paging import Cursor, Keyset, Moment, Page
from aisaas.language_models import Effort

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


async def find_conversation(
    session: AsyncSession, user_id: UUID, conversation_id: UUID
) -> Conversation | None:
    """The user's own, not deleted. The user id check is in addition to row level security."""
    query = select(Conversation).where(
        col(Conversation.id) == conversation_id,
        col(Conversation.user_id) == user_id,
        col(Conversation.deleted_at).is_(None),
    )
    return (await session.scalars(query)).first()


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


async def end_in_view(session: AsyncSession, conversation: Conversation) -> UUID | None:
    """The last message of the path in view; None for a conversation without messages."""
    if conversation.leaf_id is not None:
        return conversation.leaf_id
    newest = (
        select(col(Message.id))
        .where(col(Message.conversation_id) == conversation.id)
        .order_by(col(Message.created_at).desc(), col(Message.id).desc())
        .limit(1)
    )
    return await session.scalar(newest)


async def parent_of(session: AsyncSession, conversation_id: UUID, message_id: UUID) -> UUID | None:
    query = select(col(Message.parent_id)).where(
        col(Message.id) == message_id, col(Message.conversation_id) == conversation_id
    )
    return await session.scalar(query)


async def last_below(
    session: AsyncSession, conversation_id: UUID, message_id: UUID
) -> Message | None:
    """The last message of a path through a message, which goes on with the newest version of each
    next one; None when the conversation has no such message."""
    row = await session.execute(
        text(
            """
            with recursive path as (
              select id, 1 as step from public.messages
              where id = :message_id and conversation_id = :id
              union all
              select next.id, step + 1 from path cross join lateral (
                select m.id from public.messages m
                where m.conversation_id = :id and m.parent_id = path.id
                order by m.created_at desc, m.id desc limit 1
              ) next
            )
            select id from path order by step desc limit 1
            """
        ),
        {"id": conversation_id, "message_id": message_id},
    )
    end = row.scalar()
    return None if end is None else await session.get(Message, end)


async def show_path(session: AsyncSession, user_id: UUID, conversation_id: UUID, end: UUID) -> None:
    """Bring the path that ends with a message into view."""
    await session.execute(
        text(
            "update public.conversations set leaf_id = :end where id = :id and user_id = :user_id"
        ),
        {"id": conversation_id, "user_id": user_id, "end": end},
    )


async def versions_of(session: AsyncSession, messages: Sequence[Message]) -> Versions:
    """Those of messages of one conversation that have any."""
    if not messages:
        return {}
    parents = [message.parent_id for message in messages if message.parent_id is not None]
    same = col(Message.parent_id).in_(parents)
    if len(parents) < len(messages):
        same |= col(Message.parent_id).is_(None)
    query = (
        select(col(Message.id), col(Message.parent_id))
        .where(col(Message.conversation_id) == messages[0].conversation_id, same)
        .order_by(col(Message.created_at), col(Message.id))
    )
    found: dict[UUID | None, list[UUID]] = {}
    for message_id, parent_id in (await session.execute(query)).all():
        found.setdefault(parent_id, []).append(message_id)
    each = {message.id: found.get(message.parent_id, []) for message in messages}
    return {message_id: ids for message_id, ids in each.items() if len(ids) > 1}


async def read_path(
    session: AsyncSession, conversation_id: UUID, end: UUID | None, *, limit: int
) -> Sequence[Message]:
    """The last `limit` messages of the path that ends with `end`, which is the first of them."""
    step: ColumnElement[int] = literal(1).label("step")
    path = (
        select(col(Message.id), col(Message.parent_id), step)
        .where(col(Message.id) == end, col(Message.conversation_id) == conversation_id)
        .cte("path", recursive=True)
    )
    above = (
        select(col(Message.id), col(Message.parent_id), path.c.step + 1)
        .join(path, col(Message.id) == path.c.parent_id)
        .where(path.c.step < limit)
    )
    path = path.union_all(above)
    query = select(Message).join(path, col(Message.id) == path.c.id).order_by(path.c.step)
    return (await session.scalars(query)).all()


_THREAD: LiteralString = """
    select c.title, c.effort, %(position)s::uuid is null or exists (
      select 1 from public.messages m where m.id = %(position)s and m.conversation_id = c.id
    ) as position_found
    from public.conversations c
    where c.id = %(id)s and c.user_id = %(user_id)s and c.deleted_at is null
    """
# A walk from the end of the path, message by message.
_SAID: LiteralString = """
    with recursive path as (
      select id, role, content, reply_to, token_count, depth, parent_id, 1 as step
      from public.messages
      where conversation_id = %(id)s and id = (
        select case
          when %(instead_of)s::uuid is not null
            then (select parent_id from public.messages where id = %(instead_of)s)
          else coalesce(%(after)s, c.leaf_id, (
            select id from public.messages where conversation_id = c.id
            order by created_at desc, id desc limit 1)) end
        from public.conversations c where c.id = %(id)s
      )
      union all
      select m.id, m.role, m.content, m.reply_to, m.token_count, m.depth, m.parent_id, step + 1
      from path join public.messages m on m.id = path.parent_id
      where step < %(limit)s
    )
    select id, role, content, reply_to, token_count, depth from path order by step
    """


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


async def find_message(session: AsyncSession, user_id: UUID, message_id: UUID) -> Message | None:
    query = select(Message).where(col(Message.id) == message_id, col(Message.user_id) == user_id)
    return (await session.scalars(query)).first()


class StoredMeanwhileError(Exception):
    """Messages with these ids exist already: the call arrived twice, and this is the second."""


async def start_reply(
    session: AsyncSession,
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
) -> tuple[Message, Message, Versions]:
    """The user's message, the empty reply, and their versions, in one transaction under the user's
    identity.

    `question` is None when an existing message is answered again. What is stored follows the message
    `after`, or is the first of the conversation, and comes into view.

    Raises:
        StoredMeanwhileError: nothing was stored by this call.
    """
    try:
        await _insert_turn(
            session,
            {"id": conversation_id, "user_id": user_id, "model": model, "effort": effort},
            new_conversation=new_conversation,
            question_id=question_id,
            question=question,
            reply_id=reply_id,
            after=after,
        )
    except IntegrityError as error:
        if isinstance(error.orig, UniqueViolation):
            raise StoredMeanwhileError from error
        raise
    asked = await find_message(session, user_id, question_id)
    reply = await find_message(session, user_id, reply_id)
    if asked is None or reply is None:
        raise AssertionError("a message that was just inserted is not visible to its owner")
    if new_conversation:
        return asked, reply, {}
    return asked, reply, await versions_of(session, (asked, reply))


async def _insert_turn(
    session: AsyncSession,
    ids: dict[str, object],
    *,
    new_conversation: bool,
    question_id: UUID,
    question: str | None,
    reply_id: UUID,
    after: UUID | None,
) -> None:
    if new_conversation:
        await session.execute(
            text(
                "insert into public.conversations (id, user_id, model, effort)"
                " values (:id, :user_id, :model, :effort)"
            ),
            ids,
        )
    else:
        await session.execute(
            text(
                "update public.conversations"
                " set model = :model, effort = :effort, last_message_at = now(), leaf_id = null"
                " where id = :id and user_id = :user_id"
            ),
            ids,
        )
    # `depth` tells the first message from one that doesn't say what it follows.
    if question is not None:
        await session.execute(
            text(
                """
                insert into public.messages (id, conversation_id, user_id, role, content, status, model,
                  parent_id, depth)
                values (:message_id, :id, :user_id, 'user', :content, 'done', :model, :parent_id, 0)
                """
            ),
            ids | {"message_id": question_id, "content": question, "parent_id": after},
        )
        after = question_id
    await session.execute(
        text(
            """
            insert into public.messages (id, conversation_id, user_id, role, content, status,
              model, reply_to, parent_id, depth)
            values (:message_id, :id, :user_id, 'assistant', '', 'streaming', :model, :reply_to,
              :parent_id, 0)
            """
        ),
        ids | {"message_id": reply_id, "reply_to": question_id, "parent_id": after},
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
