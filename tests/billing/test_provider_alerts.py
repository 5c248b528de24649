"""A provider that refuses our key, or doesn't know a model, is reported to the operator once a day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass

import psycopg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from aisaas.adapters.alert_webhook import AlertWebhook
from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.billing.ledger.store import add_provider_errors
from aisaas.billing.providers.alerts import ProviderAlerts
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.errors import KEY_REFUSED, MODEL_GONE, AlertError, ProviderError
from aisaas.jobs import alert_providers
from aisaas.providers import ModelProvider
from aisaas.settings import Settings
from devstack.stack import Stack
from tests.adapters.providers import provider
from tests.adapters.test_litellm_model import admitted_for, model_of
from tests.alert_receiver import AlertReceiver, taking_alerts

KEY = "key-that-is-never-told"
GROQ = ModelProvider("groq-eu", "Groq, EU", "groq", key_variable="GROQ_EU_KEY", key=SecretStr(KEY))
PAGE = "https://chat.example.com/admin/controls"


@dataclass(frozen=True)
class Desk:
    """An install on which no job runs."""

    service: ServiceDatabase
    owner: psycopg.Connection

    def alerts(self, url: str | None = None) -> ProviderAlerts:
        sink = AlertWebhook(url, "a secret of thirty-two characters", app="Chat") if url else None
        return ProviderAlerts(self.service, {GROQ.id: GROQ}, sink, page=PAGE)

    async def fail(self, kind: str, model: str = "m", at: str = GROQ.id) -> None:
        async with self.service.transaction() as session:
            await add_provider_errors(session, [(at, model, kind)])

    def sent(self) -> list[tuple[object, ...]]:
        return self.owner.execute(
            "select kind, values ->> 'provider', values ->> 'variable' from billing_notices"
            " where user_id is null order by created_at, key"
        ).fetchall()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(spare_stack: Stack) -> AsyncGenerator[Desk]:
    login = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
    with psycopg.connect(spare_stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as owner:
        for table in ("private.provider_errors", "billing_notices"):
            owner.execute(f"delete from {table}")  # pyright: ignore[reportArgumentType]
        yield Desk(ServiceDatabase(login), owner)
    await login.close()


@pytest.fixture(name="receiver")
def _receiver() -> Generator[AlertReceiver]:
    with taking_alerts() as receiver:
        yield receiver


@pytest.mark.parametrize("kind", KEY_REFUSED)
async def test_a_refused_key_is_reported_once_by_its_variable(
    kind: str, desk: Desk, receiver: AlertReceiver
) -> None:
    alerts = desk.alerts(receiver.url)
    for model in ("m", "m", "another"):
        await desk.fail(kind, model)
        await alerts.look_once()
        await alerts.deliver_once()
    assert desk.sent() == [("key_refused", "Groq, EU", "GROQ_EU_KEY")]
    said = [posted.said for posted in receiver.posted]
    assert len(said) == 1
    assert said[0]["text"] == f"Chat: Groq, EU refuses the key in GROQ_EU_KEY. {PAGE}"
    assert KEY not in str(said)


async def test_each_model_that_is_gone_is_reported(desk: Desk, receiver: AlertReceiver) -> None:
    alerts = desk.alerts(receiver.url)
    for model in ("one", "two", "one"):
        await desk.fail(MODEL_GONE, model)
    assert await alerts.look_once() == 2
    assert await alerts.look_once() == 0
    await alerts.deliver_once()
    assert [kind for kind, *_ in desk.sent()] == ["model_gone", "model_gone"]
    assert "the model one" in receiver.posted[0].said["text"]


async def test_other_failures_are_nobodys_mail(desk: Desk) -> None:
    for kind in ("timeout", "RateLimitError", "InternalServerError", "BadRequestError"):
        await desk.fail(kind)
    assert await desk.alerts().look_once() == 0
    assert desk.sent() == []


async def test_processes_that_look_at_once_tell_it_once(
    desk: Desk, receiver: AlertReceiver
) -> None:
    await desk.fail(KEY_REFUSED[0])
    several = [desk.alerts(receiver.url) for _ in range(4)]
    assert sum(await asyncio.gather(*(each.look_once() for each in several))) == 1
    for each in several:
        await each.deliver_once()
    assert len(receiver.posted) == 1


async def test_a_webhook_that_is_away_is_reported_later(
    desk: Desk, receiver: AlertReceiver
) -> None:
    alerts = desk.alerts(receiver.url)
    await desk.fail(KEY_REFUSED[0])
    await alerts.look_once()
    receiver.answers = [503]
    with pytest.raises(AlertError):
        await alerts.deliver_once()
    assert await alerts.deliver_once() == 1
    assert await alerts.deliver_once() == 0
    assert receiver.posted[0].said["id"] == receiver.posted[1].said["id"]


async def test_a_webhook_that_refuses_one_gets_the_next(
    desk: Desk, receiver: AlertReceiver
) -> None:
    alerts = desk.alerts(receiver.url)
    for model in ("one", "two"):
        await desk.fail(MODEL_GONE, model)
    await alerts.look_once()
    receiver.answers = [400]
    assert await alerts.deliver_once() == 1


async def test_a_provider_that_left_the_settings_is_reported_by_its_id(desk: Desk) -> None:
    await desk.fail(KEY_REFUSED[0], at="gone")
    await desk.alerts().look_once()
    assert desk.sent() == [("key_refused", "gone", "MODEL_PROVIDERS")]


def test_it_is_looked_for_well_within_a_minute() -> None:
    assert alert_providers.EVERY_SECONDS <= 15


@pytest.mark.parametrize(
    ("status", "kind"), [(401, KEY_REFUSED[0]), (403, KEY_REFUSED[1]), (404, MODEL_GONE)]
)
@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_the_status_decides_what_is_the_operators(
    protocol: str, status: int, kind: str
) -> None:
    async with provider(protocol, status=status) as server:
        settings = Settings.model_construct()
        settings._file_providers = (
            ModelProvider(protocol, protocol, protocol, key=SecretStr(KEY), base=server.url),
        )
        door = LiteLLMModel(settings)
        with pytest.raises(ProviderError) as caught:
            async for _ in door.stream(admitted_for(model_of(protocol)), model_of(protocol)):
                pass
    assert caught.value.kind == kind
