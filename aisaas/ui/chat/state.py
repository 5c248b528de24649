"""The chat page's state: translates between the browser and `chat.send`, and decides nothing.

The transcript is not a list that grows here. `page` holds what was loaded, `question` and `reply`
the turn in progress, and the text of a running reply passes through `stream.Tail`; the browser
puts them together, so text it already has isn't sent again.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID, uuid4

import reflex as rx
from reflex.event import EventSpec, EventType

from aisaas.accounts.models import Principal
from aisaas.billing.plans.terms import plans
from aisaas.callers import Caller
from aisaas.chat.models import Conversation, ConversationPage, Message, Started, Versions
from aisaas.chat.titles import UNTITLED
from aisaas.errors import ModelRetired, NotFound
from aisaas.ui import connection_draining, notices, payloads, routes
from aisaas.ui.chat import view
from aisaas.ui.chat.stream import relay_to_tab
from aisaas.ui.session import caller_of, principal_of, show_account
from aisaas.wiring import services

# A reply's receipt follows shortly after its end.
SETTLE_POLL_SECONDS = 0.1
SETTLE_POLLS = 100
LISTED = 50
# Messages of an older page.
EARLIER = 60
# The browser may skip a change that another one follows at once, so a few are repeated.
CHANGES = 3


class Sidebar(rx.State):
    """The list of conversations, which the browser puts together: the newest page, the older one it
    asked for last, and what has changed since the newest was sent."""

    newest: view.ListView = view.ListView()
    older: view.ListView = view.ListView()
    changes: list[view.ChangeView] = []  # noqa: RUF012
    undo: view.UndoView = view.UndoView()

    @rx.event
    @notices.handle_errors
    async def rename(self, conversation_id: str, title: str) -> None:
        wanted, title = payloads.identifier(conversation_id), payloads.title(title)
        principal = await principal_of(self)
        await services().conversations.rename(principal, wanted, title)
        await show_changed(self, principal, wanted)
        chat = await self.get_state(Chat)
        if chat.current == str(wanted):
            chat.title = title

    @rx.event
    @notices.handle_errors
    async def delete(self, conversation_id: str) -> EventSpec | None:
        wanted = payloads.identifier(conversation_id)
        principal = await principal_of(self)
        gone = await services().conversations.find(principal, wanted)
        await services().conversations.delete(principal, wanted)
        self.changes = [*self.changes, view.change_view(gone, gone=True)][-CHANGES:]
        self.undo = view.UndoView(str(wanted), gone.title, uuid4().hex)
        chat = await self.get_state(Chat)
        return rx.redirect(routes.CHAT) if chat.current == str(wanted) else None

    @rx.event
    @notices.handle_errors
    async def restore(self, conversation_id: str) -> EventSpec | None:
        wanted = payloads.identifier(conversation_id)
        principal = await principal_of(self)
        await services().conversations.restore(principal, wanted)
        self.undo = view.UndoView()
        await show_changed(self, principal, wanted)
        return rx.redirect(routes.conversation(wanted))

    @rx.event
    @notices.handle_errors
    async def show_older(self, cursor: str) -> None:
        principal = await principal_of(self)
        before = payloads.conversation_cursor(cursor)
        found = await services().conversations.list(principal, before=before, limit=LISTED)
        self.older = view.list_view(found, before)


class Chat(rx.State):
    """The open conversation and the turn in progress."""

    # A message sent before this is known would name no model.
    ready: bool = False
    current: str = ""
    # Of the open conversation; empty until it has one of its own.
    title: str = ""
    model: str = ""
    # How much the model should think; empty leaves it to the model.
    effort: str = ""
    models: list[view.ModelView] = []  # noqa: RUF012
    retired: view.RetiredView = view.RetiredView()
    # Characters of a message, at most.
    limit: int = 0
    page: view.PageView = view.PageView()
    question: view.MessageView | None = None
    reply: view.MessageView | None = None
    # The last message in view, which the next one follows.
    last: str = ""
    accepted: str = ""
    # The conversation that `send` just created, and the connection it moves there: a reloaded page
    # has to be filled again.
    _arriving: tuple[str, str] = ("", "")

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> list[EventType[()]] | None:
        caller = await caller_of(self)
        await show_account(self, caller)
        asked = routes.conversation_in(self.router.url.path)
        here = (asked, self.router.session.session_id)
        # Unless another load came in between, and has shown something else.
        arrived = bool(asked) and asked == self.current and self._arriving == here
        self._arriving = ("", "")
        if arrived:
            await show_changed(self, caller, UUID(asked))
            return None
        await list_conversations(self, caller)
        await notices.clear(self)
        await show_models(self, caller)
        self.limit = services().settings.max_message_chars
        self.ready = True
        through = self.router.url.query_parameters.get("message", "")
        return await open_conversation(
            self,
            caller,
            payloads.identifier_or_new(asked),
            through=payloads.identifier_or_new(through),
        )

    @rx.event
    @notices.handle_errors
    async def load_earlier(self, message_id: str) -> None:
        before = payloads.identifier(message_id)
        principal, current = await principal_of(self), payloads.identifier(self.current)
        older = await services().conversations.open(
            principal, current, before=before, limit=EARLIER
        )
        labels = services().catalogue.labels
        self.page = view.page_view(older, labels, {}, before=before, admin=principal.is_admin)

    @rx.event
    @notices.handle_errors
    async def send(
        self,
        text: str,
        conversation: str,
        nonce: str,
        model: str,
        effort: str = "",
        after: str = "",
    ) -> list[EventType[()]]:
        await notices.clear(self)
        caller = await caller_of(self)
        # Named by the browser: the state may be a new one that isn't loaded yet.
        named = payloads.model_id(model)
        try:
            started = await services().chat.send(
                caller,
                payloads.message_text(text),
                conversation_id=payloads.identifier_or_new(conversation),
                model=named,
                effort=payloads.effort(effort),
                attempt=payloads.nonce(nonce),
                after=payloads.identifier_or_new(after),
            )
        except ModelRetired:
            # Since the page was loaded, perhaps.
            await show_models(self, caller, named)
            raise
        self.accepted = payloads.nonce(nonce)
        return show_started(self, started)

    @rx.event
    @notices.handle_errors
    async def edit(self, message_id: str, text: str, nonce: str) -> list[EventType[()]]:
        await notices.clear(self)
        started = await services().chat.edit(
            await caller_of(self),
            payloads.identifier(message_id),
            payloads.message_text(text),
            model=self._chosen(),
            attempt=payloads.nonce(nonce),
        )
        return show_started(self, started)

    @rx.event
    @notices.handle_errors
    async def retry(self, message_id: str) -> list[EventType[()]]:
        await notices.clear(self)
        earlier, model = payloads.identifier(message_id), self._chosen()
        started = await services().chat.retry(await caller_of(self), earlier, model=model)
        return show_started(self, started)

    @rx.event
    @notices.handle_errors
    async def regenerate(self, message_id: str, model: str = "") -> list[EventType[()]]:
        await notices.clear(self)
        earlier = payloads.identifier(message_id)
        named = payloads.model_id(model) if model else self._chosen()
        caller = await caller_of(self)
        started = await services().chat.regenerate(caller, earlier, model=named)
        # The conversation goes on with it.
        await show_models(self, caller, started.reply.model or "")
        return show_started(self, started)

    @rx.event
    @notices.handle_errors
    async def go_on(self, message_id: str) -> list[EventType[()]]:
        await notices.clear(self)
        wanted = payloads.identifier(message_id)
        return show_started(self, await services().chat.go_on(await caller_of(self), wanted))

    @rx.event
    @notices.handle_errors
    async def stop(self, message_id: str) -> None:
        wanted = payloads.identifier(message_id)
        await services().chat.stop(await principal_of(self), wanted)

    @rx.event
    @notices.handle_errors
    async def choose_model(self, model: str) -> None:
        chosen = payloads.model_id(model)
        caller = await caller_of(self)
        if self.current:
            conversation = payloads.identifier(self.current)
            await services().conversations.set_model(caller, conversation, chosen)
        self.model = chosen
        await show_models(self, caller, chosen)
        if not self.retired.sentence:
            await notices.clear_of(self, ModelRetired.code)

    @rx.event
    @notices.handle_errors
    async def choose_effort(self, effort: str) -> None:
        principal = await principal_of(self)
        chosen = payloads.effort(effort)
        if self.current:
            conversation = payloads.identifier(self.current)
            await services().conversations.set_effort(principal, conversation, chosen)
        self.effort = chosen or ""

    def _chosen(self) -> str | None:
        """Before the state is loaded no model is selected: then the one that was asked before."""
        return payloads.model_id(self.model) if self.models else None

    @rx.event(background=True)
    @notices.handle_background_errors
    async def follow(self, message_id: str, offset: int, thought: int = 0) -> None:
        wanted = payloads.identifier(message_id)
        async with self:
            caller = await caller_of(self)
        with connection_draining.keep_connected(
            while_it=services().running.get(wanted) is not None
        ):
            await follow_reply(self, caller, wanted, offset, thought)


async def list_conversations(state: rx.State, principal: Principal) -> None:
    sidebar = await state.get_state(Sidebar)
    found = view.list_view(await services().conversations.list(principal, limit=LISTED))
    # An equal list is not sent again.
    if found != sidebar.newest or sidebar.changes:
        sidebar.newest, sidebar.changes = found, []
    if sidebar.older.before:
        sidebar.older = view.ListView()


async def show_changed(state: rx.State, principal: Principal, conversation_id: UUID) -> None:
    """Send the list's line of a conversation that is new or has changed."""
    await _show_changed(state, await services().conversations.find(principal, conversation_id))


async def _show_changed(state: rx.State, changed: Conversation) -> None:
    sidebar = await state.get_state(Sidebar)
    sidebar.changes = [*sidebar.changes, view.change_view(changed)][-CHANGES:]


async def show_models(chat: Chat, caller: Caller, wanted: str = "") -> None:
    """What can be chosen; chosen is the model `wanted`, if it is on sale or retired, or the one as before."""
    await services().live_catalogue.up_to(caller.controls.models_revision)
    catalogue = services().catalogue
    models = view.model_views(catalogue.for_plan(caller.billing.plan))
    retired = view.RetiredView()
    if (succession := catalogue.succession(wanted)) is not None:
        models.append(view.ModelView(wanted, succession.label, retired=True))
        retired = view.retired_view(succession, caller.billing.plan, plans(services().settings))
    # An equal list is not sent again.
    if models != chat.models:
        chat.models = models
    chat.retired = retired
    known = {model.id for model in models}
    if wanted in known:
        chat.model = wanted
    elif chat.model not in known:
        chat.model = catalogue.default_for(caller.billing.plan).id


async def open_conversation(
    chat: Chat, caller: Caller, conversation_id: UUID | None, *, through: UUID | None = None
) -> list[EventType[()]] | None:
    """Show a conversation from the database, and follow the reply that runs in it.

    Args:
        through: the message whose path comes into view.
    """
    chat.current, chat.page, chat.question, chat.reply = "", view.PageView(), None, None
    chat.title = chat.effort = chat.last = ""
    if conversation_id is None:
        return None
    page = await services().conversations.open(caller, conversation_id, through=through)
    running, thinking = await _running_texts(caller, page)
    chat.current, chat.title = str(conversation_id), page.conversation.title
    labels = services().catalogue.labels
    chat.effort = page.conversation.effort or ""
    chat.last = str(page.messages[-1].id) if page.messages else ""
    chat.page = view.page_view(
        page,
        labels,
        running,
        running_thinking=thinking,
        at=through,
        admin=caller.is_admin,
        thinks=_thinks(page.conversation.model, chat.effort),
    )
    await show_models(chat, caller, page.conversation.model)
    return [
        _follow(chat, message, len(running[message.id]), len(thinking[message.id]))
        for message in _running(page)[-1:]
    ]


def show_started(chat: Chat, started: Started) -> list[EventType[()]]:
    labels = services().catalogue.labels
    chat.question = view.message_view(started.question, labels, versions=started.versions)
    reply = started.reply
    chat.last = str(reply.id)
    events = [_follow(chat, reply, len(reply.content), len(reply.thinking), started.versions)]
    # An address that names a message would lead back to the path through that one.
    if started.new_conversation or chat.router.url.query:
        chat.current = str(started.conversation_id)
        chat._arriving = (chat.current, chat.router.session.session_id)
        events.append(rx.redirect(routes.conversation(chat.current), replace=True))
    return events


def _follow(
    chat: Chat, reply: Message, offset: int, thought: int, versions: Versions = view.NO_VERSIONS
) -> EventType[()]:
    labels = services().catalogue.labels
    thinks = _thinks(reply.model or "", chat.effort)
    chat.reply = view.message_view(reply, labels, with_text=False, thinks=thinks, versions=versions)
    return Chat.follow(str(reply.id), offset, thought)


def _thinks(model: str, effort: str) -> bool:
    found = services().catalogue.get(model)
    return found is not None and found.thinks(payloads.effort(effort))


def _running(page: ConversationPage) -> list[Message]:
    return [message for message in page.messages if message.status == "streaming"]


async def _running_texts(
    principal: Principal, page: ConversationPage
) -> tuple[Mapping[UUID, str], Mapping[UUID, str]]:
    """What each running reply has said, and thought, by message id."""
    chat, running = services().chat, _running(page)
    said = {each.id: (await chat.text_from(principal, each.id, 0)).text for each in running}
    thought = {each.id: (await chat.thinking_from(principal, each.id, 0)).text for each in running}
    return said, thought


async def follow_reply(
    chat: Chat, caller: Caller, message_id: UUID, offset: object, thought: object
) -> None:
    """Relay a reply to this tab to its end; then its receipt, the allowance and a new title."""
    start, thought_from = payloads.offset(offset), payloads.offset(thought)
    said = services().chat.follow(caller, message_id, start)
    thinking = services().chat.follow_thinking(caller, message_id, thought_from)
    if not await relay_to_tab(said, thinking, message_id):
        return
    message = await _settled(caller, message_id)
    conversation = message.conversation_id
    waits_for_title = services().chat.makes_title(conversation)
    # Read before the state's lock is taken.
    allowance = await services().quota.allowance(caller.billing)
    named = None if waits_for_title else await _named(caller, conversation)
    async with chat:
        if chat.reply is not None and chat.reply.id == str(message_id):
            labels = services().catalogue.labels
            chat.reply = view.message_view(message, labels, admin=caller.is_admin, with_text=False)
        await show_account(chat, caller, allowance)
        if named is not None:
            await _show_named(chat, named)
    if waits_for_title and await services().chat.title_ready(caller, conversation) is not None:
        # Its call is charged as well.
        allowance = await services().quota.allowance(caller.billing)
        named = await services().conversations.find(caller, conversation)
        async with chat:
            await show_account(chat, caller, allowance)
            await _show_named(chat, named)


async def _named(principal: Principal, conversation_id: UUID) -> Conversation | None:
    """None if it has no title of its own, or was deleted while its reply ran."""
    try:
        found = await services().conversations.find(principal, conversation_id)
    except NotFound:
        return None
    return found if found.title != UNTITLED else None


async def _show_named(chat: Chat, named: Conversation) -> None:
    """Send the list's line of a conversation, and its title where it is the open one."""
    await _show_changed(chat, named)
    if chat.current == str(named.id):
        chat.title = named.title


async def _settled(principal: Principal, message_id: UUID) -> Message:
    for _ in range(SETTLE_POLLS):
        message = await services().chat.message(principal, message_id)
        if message.status != "streaming":
            return message
        await asyncio.sleep(SETTLE_POLL_SECONDS)
    raise NotFound(
        "This reply is taking longer than expected to finish. Reload the page to see it."
    )
