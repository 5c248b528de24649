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
from aisaas.chat.models import Conversation, ConversationPage, Position
from aisaas.chat.title_text import typed_title
from aisaas.db.engine import PipelinedQuery, T
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
        found = await self._fetch(principal, store.conversation(principal.user_id, conversation_id))
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
        user_id, place = principal.user_id, Position(instead_of=before)
        if through is not None:
            shown = await self._fetch(principal, store.show_path(user_id, conversation_id, through))
            if shown is None:
                # The conversation itself may not exist.
                await self.find(principal, conversation_id)
                raise NotFound("That message no longer exists.")
            place, limit = Position(after=shown.end), max(limit, shown.below + ABOVE)
        limit = min(limit, PAGE_LIMIT)
        # One more than requested shows whether there is an older page.
        found = await self._fetch(
            principal, store.read_path(user_id, conversation_id, place, limit=limit + 1)
        )
        if found is None:
            raise NotFound
        conversation, path, versions = found
        messages, older = first(path, limit)
        return ConversationPage(
            conversation,
            tuple(reversed(messages)),
            has_older=older,
            versions={each.id: versions[each.id] for each in messages if each.id in versions},
        )

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

    async def _fetch(self, principal: Principal, wanted: PipelinedQuery[T]) -> T:
        try:
            return await self._user.fetch_as(principal.user_id, wanted)
        except DependencyError as error:
            raise Unavailable from error

    @asynccontextmanager
    async def _as(self, principal: Principal) -> AsyncGenerator[AsyncSession]:
        try:
            async with self._user.as_user(principal.user_id) as session:
                yield session
        except DependencyError as error:
            raise Unavailable from error
