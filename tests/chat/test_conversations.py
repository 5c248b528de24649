"""What people call their conversations: anything that can be seen, and nothing that can't be stored."""

from __future__ import annotations

import pytest

from aisaas.errors import MessageInvalid, ModelUnavailable
from aisaas.wiring import Services
from tests.services import Account, whole


async def test_title_is_kept_as_it_is_seen(services: Services, account: Account) -> None:
    ada = await account()
    started = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
    await whole(services, ada, started)
    await services.chat.title_ready(ada, started.conversation_id)

    async def renamed(title: str) -> str:
        stored = await services.conversations.rename(ada, started.conversation_id, title)
        page = await services.conversations.open(ada, started.conversation_id)
        assert page.conversation.title == stored
        return stored

    for title, stored in {
        "  Two \t words ": "Two words",
        "👩‍💻 at work": "👩‍💻 at work",
        "می‌خواهم": "می‌خواهم",
        "???": "???",
        "\u202eRate\u200b limits\ufeff": "Rate limits",
        "x" * 300: "x" * 200,
    }.items():
        assert await renamed(title) == stored
    for title in ("", " \n", "\u200b\u2060", "\u3164", "a\x00b", "a\ud83d", "\x1b[31m"):
        with pytest.raises(MessageInvalid):
            await renamed(title)
    for model in ("\x00", "demo\ud83d", "\x1b"):
        with pytest.raises(ModelUnavailable):
            await services.conversations.set_model(ada, started.conversation_id, model)
