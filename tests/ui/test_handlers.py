"""Handlers as any client can call them: with any payload, from any session.

They run in Reflex's own event processor, in memory, without a browser; what they call are the real
services on the real parts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
import reflex as rx

from aisaas import overload
from aisaas.callers import Caller
from aisaas.chat.models import Message
from aisaas.observe.outages import Outages
from aisaas.ui.account.state import Recovery
from aisaas.ui.chat.state import Chat, Sidebar
from aisaas.ui.chat.stream import Tail
from aisaas.ui.chat.view import stream_key
from aisaas.ui.dashboard.state import Dashboard
from aisaas.ui.notices import Notices
from aisaas.ui.profile.state import Profile
from aisaas.ui.session import Session
from aisaas.wiring import Services
from tests.services import Database, new_member, whole
from tests.ui.tabs import A_NAME, JUNK, MARKER, by_name, open_tab

TABLES = ("conversations", "messages", "reservations", "usage_records")
FIRST = {"nonce": "n1", "model": "demo"}
HANDLERS: dict[Any, tuple[str, ...]] = {
    Chat.send: ("text", "conversation", "nonce", "model"),
    Chat.edit: ("message_id", "text", "nonce"),
    Chat.retry: ("message_id",),
    Chat.regenerate: ("message_id", "model"),
    Chat.go_on: ("message_id",),
    Chat.stop: ("message_id",),
    Chat.choose_model: ("model",),
    Chat.choose_effort: ("effort",),
    Chat.load_earlier: ("message_id",),
    Chat.follow: ("message_id", "offset"),
    Sidebar.rename: ("conversation_id", "title"),
    Sidebar.delete: ("conversation_id",),
    Sidebar.restore: ("conversation_id",),
    Sidebar.show_older: ("cursor",),
    Tail.fill_gap: ("message_id", "offset"),
    Profile.rename: ("name",),
}
WITHOUT_IDS = (Chat.choose_model, Chat.choose_effort, Profile.rename)
# A place among other messages or conversations; those behind it are always one's own.
PLACES = (Chat.load_earlier, Sidebar.show_older)
WITH_IDS = [handler for handler in HANDLERS if handler not in WITHOUT_IDS]
# Whether there is a model of that name is asked when it is used; a name may be anything short.
TAKEN = [
    (Chat.choose_model, A_NAME),
    (Chat.choose_effort, ""),
    (Profile.rename, A_NAME),
    (Profile.rename, ""),
]

pytestmark = pytest.mark.usefixtures("app")


@dataclass(frozen=True)
class Person:
    """Someone with a conversation; `words` stand in nobody else's."""

    principal: Caller
    cookie: str
    words: str
    conversation: str
    reply: Message

    def payload(self, handler: Any) -> dict[str, Any]:
        """What their own browser could send to `handler`."""
        theirs = {
            "text": "hello",
            "conversation": self.conversation,
            "conversation_id": self.conversation,
            "message_id": str(self.reply.id),
            "nonce": "n1",
            "title": "A title",
            "model": "demo",
            "effort": "low",
            "offset": 0,
            "cursor": f"{self.reply.created_at.isoformat()}/{self.conversation}",
            "name": self.principal.full_name,
        }
        return {name: theirs[name] for name in HANDLERS[handler]}


async def who_talked(services: Services) -> Person:
    member, words = await new_member(services), f"stored before {uuid4().hex}"
    sent = await services.chat.send(member.principal, words, conversation_id=None, model="demo")
    _, reply = await whole(services, member.principal, sent)
    await services.chat.title_ready(member.principal, sent.conversation_id)
    return Person(member.principal, member.cookie, words, str(sent.conversation_id), reply)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ada(shared_services: Services) -> Person:
    return await who_talked(shared_services)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def eve(shared_services: Services) -> Person:
    return await who_talked(shared_services)


@pytest_asyncio.fixture(loop_scope="session")
async def untouched(database: Database, ada: Person, eve: Person) -> AsyncGenerator[None]:
    """Whatever the test does, nothing that belongs to the two changes."""

    def belongings() -> list[list[tuple[object, ...]]]:
        owners = [ada.principal.user_id, eve.principal.user_id]
        sql = "select row::text from {} row where user_id = any(%s) order by 1"
        return [database(sql.format(table), owners) for table in TABLES]

    before = belongings()
    yield
    assert belongings() == before


def public_handlers() -> set[str]:
    return {
        f"{state.__name__}.{name}"
        for state in (Chat, Sidebar, Tail, Session, Notices, Dashboard, Profile, Recovery)
        for name in state.event_handlers
        # Reflex's own; it sets only vars that have a setter, and none of ours has one.
        if name in vars(state) and name != "setvar"
    }


def test_every_handler_that_takes_something_is_tried_with_junk() -> None:
    tried = {name for handler in HANDLERS for name in [handler.fn.__qualname__]}
    without_arguments = {
        "Chat.load",
        "Session.leave_if_signed_in",
        "Session.leave_unless_suspended",
        "Notices.dismiss",
        "Dashboard.load",
        "Dashboard.older",
        "Dashboard.newer",
        "Profile.load",
        "Recovery.look",
    }
    assert public_handlers() == tried | without_arguments


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
@pytest.mark.usefixtures("domain", "untouched")
async def test_junk_is_refused_and_changes_nothing(ada: Person, handler: Any) -> None:
    for junk in JUNK:
        async with open_tab(ada.cookie) as tab:
            await tab.call(Chat.load)
            payload: dict[str, Any] = dict.fromkeys(HANDLERS[handler], junk)
            await tab.call(handler, **payload)
            if (handler, junk) not in TAKEN:
                expected = {"not_found", "message_invalid", "model_unavailable", "name_invalid"}
                assert tab.refused in expected, repr(junk)[:80]


@pytest.mark.usefixtures("domain", "untouched")
async def test_a_model_that_is_not_theirs_answers_nothing(ada: Person) -> None:
    for model in (A_NAME, "gpt-4o", "demo-large"):
        async with open_tab(ada.cookie) as tab:
            await tab.call(Chat.load)
            await tab.call(Chat.choose_model, model=model)
            await tab.call(Chat.send, text="hello", conversation="", nonce="n1", model=model)
            assert tab.refused == "model_unavailable"


@pytest.mark.usefixtures("domain", "untouched")
async def test_a_junk_offset_is_the_beginning_or_the_end(ada: Person) -> None:
    async with open_tab(ada.cookie) as tab:
        for junk in JUNK:
            await tab.call(Tail.fill_gap, message_id=str(ada.reply.id), offset=junk)
            assert not tab.refused
            assert tab.vars["tail.g"][2] == ("" if junk == 2**80 else ada.reply.content)


@pytest.mark.parametrize("title", [junk for junk in JUNK if junk != A_NAME], ids=type)
@pytest.mark.usefixtures("domain", "untouched")
async def test_a_junk_title_is_refused(ada: Person, title: Any) -> None:
    async with open_tab(ada.cookie) as tab:
        await tab.call(Sidebar.rename, conversation_id=ada.conversation, title=title)
        assert tab.refused == "message_invalid"


async def test_text_is_only_text(domain: Services) -> None:
    ada = await who_talked(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load, path=f"/chat/{ada.conversation}")
        await tab.call(Sidebar.rename, conversation_id=ada.conversation, title=A_NAME)
        await tab.call(Chat.send, text=A_NAME, conversation=ada.conversation, **FIRST)
    page = await domain.conversations.open(ada.principal, UUID(ada.conversation))
    assert page.conversation.title == A_NAME
    assert [m.content for m in page.messages if m.role == "user"] == [ada.words, A_NAME]


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
@pytest.mark.usefixtures("domain", "untouched")
async def test_unexpected_arguments_end_as_a_notice(ada: Person, handler: Any) -> None:
    async with open_tab(ada.cookie) as tab:
        await tab.call(handler, **ada.payload(handler), surprise=1)
        assert tab.refused == "internal_error"


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
@pytest.mark.usefixtures("untouched")
async def test_nobody_gets_anywhere_without_a_session(
    domain: Services, ada: Person, handler: Any
) -> None:
    left = await new_member(domain)
    await domain.accounts.sign_out(left.cookie)
    for cookie in ("", f"{domain.cookie}=nobody", left.cookie):
        async with open_tab(cookie) as tab:
            await tab.call(handler, **ada.payload(handler))
            assert tab.refused == "unauthenticated"
            assert ada.words not in str(tab.deltas)


@pytest.mark.parametrize("handler", WITH_IDS, ids=by_name)
@pytest.mark.usefixtures("domain", "untouched")
async def test_ids_of_someone_else_lead_nowhere(ada: Person, eve: Person, handler: Any) -> None:
    async with open_tab(eve.cookie) as tab:
        await tab.call(Chat.load, path=f"/chat/{eve.conversation}")
        await tab.call(handler, **ada.payload(handler))
        assert tab.refused == ("" if handler in PLACES else "not_found")
        assert ada.words not in str(tab.deltas)
        assert ada.reply.content not in str(tab.deltas)


@pytest.mark.usefixtures("domain", "untouched")
async def test_the_address_of_someone_elses_conversation_shows_nothing(
    ada: Person, eve: Person
) -> None:
    for address in (
        f"/chat/{ada.conversation}",
        f"/chat/{ada.conversation}?message={ada.reply.id}",
        f"/chat/{eve.conversation}?message={ada.reply.id}",
        f"/chat/{eve.conversation}?message=1",
    ):
        async with open_tab(eve.cookie) as tab:
            await tab.call(Chat.load, path=address)
            assert tab.refused == "not_found"
            assert ada.words not in str(tab.deltas)


@pytest.mark.usefixtures("domain")
async def test_a_state_is_emptied_before_someone_else_sees_it(ada: Person, eve: Person) -> None:
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load, path=f"/chat/{ada.conversation}")
        assert ada.words in str(tab.vars)
        tab.cookie, tab.deltas = eve.cookie, []
        await tab.call(rx.State.hydrate_and_load)
        assert tab.deltas
        assert ada.words not in str(tab.deltas)
        assert str(ada.principal.user_id) not in str(tab.deltas)


@pytest.mark.usefixtures("domain")
async def test_settings_show_ones_own_account_only(domain: Services, eve: Person) -> None:
    ada = await new_member(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Profile.load, path="/settings")
        (only,) = tab.vars["profile.sessions"]
        assert (only.id, only.current) == (str(ada.principal.session_id), True)
        await tab.call(Profile.rename, name="  Augusta  King ")
        assert tab.vars["profile.full_name"] == tab.vars["session.name"] == "Augusta King"
        assert tab.vars["session.initials"] == "AK"
        tab.cookie = eve.cookie
        await tab.call(Profile.rename, name="Eve")
        assert tab.refused == "unauthenticated"
    assert (await domain.callers.resolve(ada.cookie)).full_name == "Augusta King"


async def test_a_password_is_chosen_only_with_a_session(domain: Services) -> None:
    ada = await new_member(domain)
    for cookie, standing in (("", "nobody"), (ada.cookie, "signed_in")):
        async with open_tab(cookie) as tab:
            await tab.call(Recovery.look, path="/reset")
            assert tab.vars["recovery.standing"] == standing


async def test_another_users_state_is_not_used(domain: Services, eve: Person) -> None:
    ada = await new_member(domain)
    sent = await domain.chat.send(
        ada.principal, "long 4000 speed 40", conversation_id=None, model="demo"
    )
    async with open_tab(ada.cookie) as tab:
        await tab.call(Dashboard.load)
        assert tab.vars["session.owner"] == str(ada.principal.user_id)
        tab.cookie = eve.cookie
        await tab.call(Chat.stop, message_id=str(sent.reply.id))
        assert tab.refused == "unauthenticated"
        running = await domain.chat.message(ada.principal, sent.reply.id)
        assert running.status == "streaming"
        tab.cookie = ada.cookie
        await tab.call(Chat.stop, message_id=str(sent.reply.id))
    _, stopped = await whole(domain, ada.principal, sent)
    assert stopped.status == "stopped"


@pytest.mark.parametrize("nonce", ["n1", "1-2-3-4", "x" * 64, "", None], ids=repr)
async def test_a_refused_send_says_why_and_for_which_attempt(
    domain: Services, database: Database, nonce: Any
) -> None:
    ada = await new_member(domain)
    database("update profiles set tokens_per_month = 0 where id = %s", ada.principal.user_id)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load)
        await tab.call(Chat.send, text="hello", conversation="", nonce=nonce, model="demo")
        refusal = tab.vars["notices.refusal"]
        assert refusal.code == "quota_exceeded"
        assert refusal.nonce == (nonce or "")
        assert datetime.fromisoformat(refusal.retry_at) > datetime.now(UTC)
        # The composer empties itself only for an accepted attempt.
        assert tab.vars.get("chat.accepted", "") == ""
    assert not database("select 1 from messages where user_id = %s", ada.principal.user_id)


@pytest.mark.parametrize(
    "nonce", ["x" * 65, 7, ["n1"], "a b", "n\0", "n\ud800", "n\n", "\u0661"], ids=ascii
)
@pytest.mark.usefixtures("domain", "untouched")
async def test_what_names_no_attempt_is_refused_and_not_repeated(ada: Person, nonce: Any) -> None:
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.send, text="hello", conversation="", nonce=nonce, model="demo")
        assert tab.refused == "message_invalid"
        assert tab.vars["notices.refusal"].nonce == ""


@pytest.mark.parametrize("junk", ["\0", "a\0b", "\ud800", "a\udfffb", "\x1b[2J"], ids=ascii)
@pytest.mark.parametrize("handler", [h for h in HANDLERS if h is not Chat.send], ids=by_name)
@pytest.mark.usefixtures("domain", "untouched")
async def test_text_that_no_database_stores_gets_a_refusal_and_no_stack_trace(
    ada: Person, handler: Any, junk: str, caplog: pytest.LogCaptureFixture
) -> None:
    payload = ada.payload(handler)
    for name in payload:
        async with open_tab(ada.cookie) as tab:
            await tab.call(handler, **(payload | {name: junk}))
            if name != "offset":
                expected = {"not_found", "message_invalid", "model_unavailable", "name_invalid"}
                assert tab.refused in expected, name
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_message_that_arrives_twice_is_one(domain: Services) -> None:
    ada = await who_talked(domain)
    said = {"text": "once", "conversation": ada.conversation, **FIRST}
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.send, **said)
        reply = tab.vars["chat.reply"].id
        await tab.call(Chat.send, **said)
        assert (tab.vars["chat.reply"].id, tab.refused) == (reply, "")
    page = await domain.conversations.open(ada.principal, UUID(ada.conversation))
    assert [m.content for m in page.messages if m.role == "user"] == [ada.words, "once"]


async def test_a_tab_that_was_forgotten_answers_before_it_is_loaded_again(domain: Services) -> None:
    ada = await who_talked(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.retry, message_id=str(ada.reply.id))
        assert (tab.vars["chat.reply"].status, tab.refused) == ("done", "")


async def test_a_reply_streams_without_the_transcript(domain: Services) -> None:
    ada = await who_talked(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load, path=f"/chat/{ada.conversation}")
        assert ada.words in str(tab.vars["chat.page"])
        tab.deltas.clear()
        await tab.call(Chat.send, text="long 60 speed 200", conversation=ada.conversation, **FIRST)
        assert tab.vars["chat.accepted"] == "n1"
        assert tab.vars["chat.reply"].status == "done"
        assert tab.vars["chat.reply"].text is None
        assert ada.words not in str(tab.deltas)


async def test_windows_go_out_by_themselves_under_the_name_the_browser_knows(
    domain: Services,
) -> None:
    """The contract with reflex: `emit_delta` takes a state's full name and marked var names."""
    state, var = Tail.get_full_name(), "s" + MARKER
    ada = await who_talked(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load, path=f"/chat/{ada.conversation}")
        await tab.call(Chat.send, text="long 60 speed 200", conversation=ada.conversation, **FIRST)
        windows = [delta for delta in tab.deltas if delta.get(state, {}).get(var, [""])[0]]
        reply = UUID(tab.vars["chat.reply"].id)
    text = ""
    for window in windows:
        assert window.keys() == {state}
        assert window[state].keys() == {var}
        key, offset, piece = window[state][var]
        assert key == stream_key(reply)
        assert offset <= len(text)
        text += piece[len(text) - offset :]
    assert len(windows) > 1
    assert text == (await domain.chat.message(ada.principal, reply)).content


@pytest.mark.usefixtures("domain", "untouched")
async def test_a_gap_is_filled_from_its_offset(ada: Person) -> None:
    async with open_tab(ada.cookie) as tab:
        await tab.call(Tail.fill_gap, message_id=str(ada.reply.id), offset=5)
        assert tab.vars["tail.g"] == [stream_key(ada.reply.id), 5, ada.reply.content[5:]]


async def test_a_gap_in_a_running_reply_is_filled_with_what_there_is(domain: Services) -> None:
    ada = await new_member(domain)
    sent = await domain.chat.send(
        ada.principal, "long 4000 speed 200", conversation_id=None, model="demo"
    )
    shown = ""
    async for segment in domain.chat.follow(ada.principal, sent.reply.id):
        shown += segment.text
        if len(shown) > 50:
            break
    async with open_tab(ada.cookie) as tab:
        await tab.call(Tail.fill_gap, message_id=str(sent.reply.id), offset=5)
        key, offset, text = tab.vars["tail.g"]
    assert (key, offset) == (stream_key(sent.reply.id), 5)
    assert text.startswith(shown[5:])
    await domain.chat.stop(ada.principal, sent.reply.id)
    _, stored = await whole(domain, ada.principal, sent)
    assert stored.content[5:].startswith(text)


# The dashboard


@pytest.mark.usefixtures("domain", "untouched")
async def test_a_page_of_usage_that_has_not_changed_is_not_sent_again(ada: Person) -> None:
    async with open_tab(ada.cookie) as tab:
        await tab.call(Dashboard.load, path="/dashboard")
        assert len(tab.vars["dashboard.calls"].rows) == 2
        tab.deltas.clear()
        await tab.call(Dashboard.load, path="/dashboard")
        assert Dashboard.get_full_name() not in {state for delta in tab.deltas for state in delta}


async def test_a_changed_page_of_usage_sends_what_changed(
    domain: Services, database: Database
) -> None:
    ada = await new_member(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Dashboard.load, path="/dashboard")
        tab.deltas.clear()
        database("update profiles set tokens_per_month = 7 where id = %s", ada.principal.user_id)
        await tab.call(Dashboard.load, path="/dashboard")
        (changes,) = [
            delta[Dashboard.get_full_name()]
            for delta in tab.deltas
            if Dashboard.get_full_name() in delta
        ]
    assert set(changes) == {"allowance" + MARKER}


@pytest.mark.parametrize("turn", [Dashboard.older, Dashboard.newer], ids=by_name)
@pytest.mark.usefixtures("domain", "untouched")
async def test_pages_of_usage_are_turned_by_their_owner_only(
    ada: Person, eve: Person, turn: Any
) -> None:
    async with open_tab("") as tab:
        await tab.call(turn)
        assert tab.refused == "unauthenticated"
    async with open_tab(ada.cookie) as tab:
        # Without a page in view there is nothing to turn.
        await tab.call(turn)
        assert not tab.refused
        assert tab.vars["dashboard.calls"].rows == []
        await tab.call(Dashboard.load, path="/dashboard")
        before = tab.vars["dashboard.calls"]
        await tab.call(turn)
        assert tab.vars["dashboard.calls"] == before
        tab.cookie = eve.cookie
        tab.deltas.clear()
        await tab.call(turn)
        assert tab.refused == "unauthenticated"
        assert not any(Dashboard.get_full_name() in delta for delta in tab.deltas)


@pytest.mark.usefixtures("domain")
async def test_only_an_admin_is_sent_what_the_operator_pays(
    services: Services, database: Database
) -> None:
    ada = await who_talked(services)
    assert ada.reply.cost_usd
    cost = f"{ada.reply.cost_usd:f}"
    for admin in (False, True):
        if admin:
            database("update profiles set role = 'admin' where id = %s", ada.principal.user_id)
        for load, path in (
            (Chat.load, f"/chat/{ada.conversation}"),
            (Dashboard.load, "/dashboard"),
        ):
            async with open_tab(ada.cookie) as tab:
                await tab.call(load, path=path)
                assert f"{ada.reply.completion_tokens:,}" in repr(tab.deltas)
                assert (cost in repr(tab.deltas)) == admin


async def test_events_beyond_what_is_done_at_once_are_refused_as_busy(
    domain: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await who_talked(domain)
    async with open_tab(ada.cookie) as tab:
        await tab.call(Chat.load)
        # An outage of another test may not be over yet.
        monkeypatch.setattr(overload, "OUTAGES", Outages())
        monkeypatch.setattr(overload, "WAIT_SECONDS", 0.05)
        async with AsyncExitStack() as held:
            for _ in range(16):
                await held.enter_async_context(domain.bulkheads.events.place())
            await tab.call(Chat.send, text="hello", conversation=ada.conversation, **FIRST)
            assert tab.refused == "busy"
            refusal = tab.vars["notices.refusal"]
            assert refusal.retry_at
            assert refusal.nonce == FIRST["nonce"]
            # A page that loads tries again by itself.
            await tab.call(Chat.load)
            assert tab.vars["notices.refusal"].again
        await tab.call(Chat.load)
        assert not tab.refused
    page = await domain.conversations.open(ada.principal, UUID(ada.conversation))
    assert [m.content for m in page.messages if m.role == "user"] == [ada.words]
