"""Open, rename, delete, restore: what users do with their conversations, under their identity."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.models import Principal
from aisaas.chat import store
from aisaas.chat.guards import UNSENDABLE
from aisaas.chat.models import (
    Conversation,
    ConversationPage,
)
from aisaas.chat.title_text import typed_title
from aisaas.db.paging import Moment, Page, first
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    DependencyError,
    MessageInvalid,
    ModelUnavailable,
    NotFound,
    Unavailable,
)
from aisaas.language_models import Effort

# Rows of one page, at most.
PAGE_LIMIT = 100
# Messages of a page before the one it was opened at.
ABOVE = 4
TITLE_CHARS = 200


class Conversations:
    def __init__(self, user: UserDatabase) -> None:
        self._user = user

    async def list(
        self, principal: Principal, *, before: Moment | None = None, limit: int = 50
    ) -> Page[Conversation, datetime, UUID]:
        """The most recently used conversations, or those after a cursor."""
        limit = min(limit, PAGE_LIMIT)
        async with self._as(principal) as session:
            return await store.list_conversations(
                session, principal.user_id, before=before, limit=limit
            )

    async def find(self, principal: Principal, conversation_id: UUID) -> Conversation:
        """
        Raises:
            NotFound: it doesn't exist, is deleted, or belongs to another user: the same error.
        """
        async with self._as(principal) as session:
            found = await store.find_conversation(session, principal.user_id, conversation_id)
        if found is None:
            raise NotFound
        return found

    async def open(
        self,
        principal: Principal,
        conversation_id: UUID,
        *,
        before: UUID | None = None,
        through: UUID | None = None,
        limit: int = 30,
    ) -> ConversationPage:
        """The last messages of the path in view, or those before a message.

        Args:
            through: a message whose path comes into view. The page begins above it, if it isn't too
                far from the end.

        Raises:
            NotFound: it doesn't exist, is deleted, or belongs to another user: the same error.
        """
        async with self._as(principal) as session:
            conversation = await store.find_conversation(
                session, principal.user_id, conversation_id
            )
            if conversation is None:
                raise NotFound
            if through is not None:
                end, below = await self._show(session, principal, conversation_id, through)
                limit = max(limit, below + ABOVE)
            elif before is not None:
                end = await store.parent_of(session, conversation_id, before)
            else:
                end = await store.end_in_view(session, conversation)
            limit = min(limit, PAGE_LIMIT)
            # One more than requested shows whether there is an older page.
            path = await store.read_path(session, conversation_id, end, limit=limit + 1)
            messages, older = first(path, limit)
            versions = await store.versions_of(session, messages)
        shown = tuple(reversed(messages))
        return ConversationPage(conversation, shown, has_older=older, versions=versions)

    async def _show(
        self, session: AsyncSession, principal: Principal, conversation_id: UUID, message_id: UUID
    ) -> tuple[UUID, int]:
        """The end of the path that comes into view, and how many messages from the given one on."""
        message = await store.find_message(session, principal.user_id, message_id)
        end = await store.last_below(session, conversation_id, message_id)
        if message is None or end is None:
            raise NotFound("That message no longer exists.")
        await store.show_path(session, principal.user_id, conversation_id, end.id)
        return end.id, end.depth - message.depth + 1

    async def rename(self, principal: Principal, conversation_id: UUID, title: str) -> str:
        """The title as stored: one line, 200 characters at most."""
        if UNSENDABLE.search(title):
            raise MessageInvalid("The title has characters that can't be used.")
        clean = typed_title(title)[:TITLE_CHARS].strip()
        if not clean:
            raise MessageInvalid("Enter a title for the conversation.")
        async with self._as(principal) as session:
            if not await store.change_conversation(
                session, principal.user_id, conversation_id, title=clean
            ):
                raise NotFound
        return clean

    async def set_model(self, principal: Principal, conversation_id: UUID, model_id: str) -> None:
        """Set the model the conversation continues with; each call checks that it is allowed.

        Raises:
            ModelUnavailable: there is no model with this id.
            NotFound: the user has no such conversation.
        """
        if UNSENDABLE.search(model_id):
            raise ModelUnavailable
        async with self._as(principal) as session:
            if not await store.change_conversation(
                session, principal.user_id, conversation_id, model=model_id[:TITLE_CHARS]
            ):
                raise NotFound

    async def set_effort(
        self, principal: Principal, conversation_id: UUID, effort: Effort | None
    ) -> None:
        """Set the thinking effort from now on; models that don't support it ignore it.

        Raises:
            NotFound: the user has no such conversation.
        """
        async with self._as(principal) as session:
            if not await store.set_effort(session, principal.user_id, conversation_id, effort):
                raise NotFound

    async def delete(self, principal: Principal, conversation_id: UUID) -> None:
        """Hide it at once; it is deleted for good later (chat/retention.py)."""
        await self._set_deleted(principal, conversation_id, deleted=True)

    async def restore(self, principal: Principal, conversation_id: UUID) -> None:
        await self._set_deleted(principal, conversation_id, deleted=False)

    async def _set_deleted(
        self, principal: Principal, conversation_id: UUID, *, deleted: bool
    ) -> None:
        async with self._as(principal) as session:
            if not await store.set_deleted(
                session, principal.user_id, conversation_id, deleted=deleted
            ):
                raise NotFound

    @asynccontextmanager
    async def _as(self, principal: Principal) -> AsyncGenerator[AsyncSession]:
        try:
            async with self._user.as_user(principal.user_id) as session:
                yield session
        except DependencyError as error:
            raise Unavailable from error
