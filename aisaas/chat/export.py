"""A user's export of their own data: their account and all their conversations.

JSON Lines: one object per line, each with its `kind` (`account`, `conversation`, `message`). A
conversation comes before its messages, in the order they were sent: all versions of each, told apart
by what they follow, `parent_id`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from aisaas.callers import Caller
from aisaas.db.user import UserDatabase
from aisaas.errors import DependencyError, Unavailable

# Rows a transaction: short ones, so that a slow reader holds no connection.
TOGETHER = 200
_FIRST = UUID(int=0)


class Export:
    def __init__(self, user: UserDatabase) -> None:
        self._user = user

    async def lines(self, caller: Caller) -> AsyncIterator[str]:
        """May raise Unavailable midway: then the export ends without its last line."""
        yield _line(
            "account",
            id=caller.user_id,
            email=caller.email,
            full_name=caller.full_name,
            plan=caller.billing.plan,
        )
        after = _FIRST
        while conversations := await self._conversations(caller.user_id, after):
            for conversation in conversations:
                yield _line("conversation", **conversation)
                async for message in self._messages(caller.user_id, conversation["id"]):
                    yield message
            after = conversations[-1]["id"]
        yield _line("end")

    async def _messages(self, user_id: UUID, conversation_id: UUID) -> AsyncIterator[str]:
        last: tuple[datetime | None, UUID] = (None, _FIRST)
        while messages := await self._page_of_messages(user_id, conversation_id, last):
            yield "".join(_line("message", **message) for message in messages)
            last = (messages[-1]["created_at"], messages[-1]["id"])

    async def _conversations(self, user_id: UUID, after: UUID) -> list[dict[str, Any]]:
        return await self._read(
            user_id,
            """
            select id, title, model, effort, created_at, last_message_at
            from public.conversations
            where user_id = :user_id and deleted_at is null and id > :after
            order by id limit :together
            """,
            after=after,
        )

    async def _page_of_messages(
        self, user_id: UUID, conversation_id: UUID, last: tuple[datetime | None, UUID]
    ) -> list[dict[str, Any]]:
        return await self._read(
            user_id,
            """
            select id, parent_id, role, content, status, model, created_at, ending, thinking
            from public.messages
            where conversation_id = :conversation_id and user_id = :user_id
              and (cast(:at as timestamptz) is null or (created_at, id) > (:at, :id))
            order by created_at, id limit :together
            """,
            conversation_id=conversation_id,
            at=last[0],
            id=last[1],
        )

    async def _read(self, user_id: UUID, sql: str, **values: object) -> list[dict[str, Any]]:
        bound = {"user_id": user_id, "together": TOGETHER, **values}
        try:
            async with self._user.as_user(user_id) as session:
                rows = (await session.execute(text(sql), bound)).mappings().all()
        except DependencyError as error:
            raise Unavailable from error
        return [dict(row) for row in rows]


def _line(kind: str, **values: object) -> str:
    return json.dumps({"kind": kind, **_plain(values)}, ensure_ascii=False) + "\n"


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else _text_of(value)
        for name, value in values.items()
    }


def _text_of(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value
