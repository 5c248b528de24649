"""Alerts the admins when a provider refuses our key or doesn't know a model: waiting won't help.

Settling counts each provider failure; this job checks the counts for those an operator must fix.
The notice's key is the provider, the problem and the day (UTC), so each is reported once a day,
whichever process checks. The alert names the variable, never its value.

Outage: the mail is recorded in the database before anything else. The process that recorded it calls
the webhook, retrying until its server accepts; if that process ends first, only the mail and the log
remain.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.relations import PROVIDER_ERRORS
from aisaas.billing.notices import notices
from aisaas.billing.notices.notices import add_notice
from aisaas.billing.notices.relations import KEYS
from aisaas.billing.ports import Alert, AlertSink
from aisaas.db.service import ServiceDatabase
from aisaas.errors import KEY_REFUSED, MODEL_GONE, AlertError
from aisaas.providers import ModelProvider

log = logging.getLogger(__name__)

# More than these wait only while the webhook's server is away for days.
MOST_WAITING = 100
MOST_FAILURES = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """What a provider answered at least once on a day (UTC)."""

    day: date
    provider: str
    model: str
    kind: str

    @property
    def key(self) -> str:
        if self.kind == MODEL_GONE:
            return f"model_gone:{self.day}:{self.provider}:{self.model}"
        return f"key_refused:{self.day}:{self.provider}"


class ProviderAlerts:
    """Args: `providers`: those that are configured, by id."""

    def __init__(
        self,
        service: ServiceDatabase,
        providers: Mapping[str, ModelProvider],
        sink: AlertSink | None,
        *,
        page: str,
    ) -> None:
        self._service = service
        self._providers = providers
        self._sink = sink
        self._page = page
        self._waiting: deque[Alert] = deque(maxlen=MOST_WAITING)

    async def look_once(self) -> int:
        """Record the alerts that weren't sent today. Returns how many.

        Raises DependencyError without the database: the next look finds it.
        """
        async with self._service.transaction() as session:
            failures = await _failures(session)
        made = 0
        for failure in failures:
            made += await self._record(failure)
        return made

    async def deliver_once(self) -> int:
        """Send waiting alerts to the webhook; returns how many it accepted.

        Raises AlertError while its server is down: the rest waits.
        """
        sent = 0
        while self._sink is not None and self._waiting:
            try:
                await self._sink.send(self._waiting[0])
                sent += 1
            except AlertError as error:
                if not error.refused:
                    raise
                log.error("the alert webhook refused an alert about a provider: %s", error)  # noqa: TRY400
            self._waiting.popleft()
        return sent

    async def _record(self, failure: Failure) -> bool:
        provider = self._providers.get(failure.provider)
        label = provider.label if provider is not None else failure.provider
        variable = provider.variables if provider is not None else "MODEL_PROVIDERS"
        now = datetime.now(UTC)
        gone = failure.kind == MODEL_GONE
        async with self._service.transaction() as session:
            added = await add_notice(
                session,
                None,
                notices.MODEL_GONE if gone else notices.KEY_REFUSED,
                failure.key,
                {
                    "provider": label,
                    "variable": variable,
                    "model": failure.model,
                    "at": now.isoformat(),
                },
            )
        if not added:
            return False
        what = (
            f"doesn't know the model {failure.model}" if gone else f"refuses the key in {variable}"
        )
        log.error("provider %s %s", failure.provider, what)
        self._waiting.append(
            Alert(
                id=uuid4(),
                kind="model_gone" if gone else "key_refused",
                text=f"{label} {what}. {self._page}",
                values={
                    "provider": failure.provider,
                    "model": failure.model,
                    "variable": variable,
                    "at": now.isoformat(),
                },
            )
        )
        return True


async def _failures(session: AsyncSession) -> Sequence[Failure]:
    """Today's, and for a while yesterday's, that have no notice yet."""
    rows = await session.execute(
        text(
            f"""
            select f.day, f.provider, min(f.model) as model, min(f.kind) as kind
            from (
              select day, provider, model, kind,
                case when kind = :gone then 'model_gone:' || day || ':' || provider || ':' || model
                  else 'key_refused:' || day || ':' || provider end as key
              from {PROVIDER_ERRORS} e
              where kind = any(:kinds) and day in (
                (now() at time zone 'UTC')::date, ((now() - interval '5 min') at time zone 'UTC')::date
              )
            ) f
            where not exists (select 1 from {KEYS} n where n.key = f.key)
            group by f.key, f.day, f.provider order by f.key limit :most
            """  # noqa: S608  # relations of ours
        ),
        {"gone": MODEL_GONE, "kinds": [MODEL_GONE, *KEY_REFUSED], "most": MOST_FAILURES},
    )
    return [Failure(**row) for row in rows.mappings()]
