"""Keeps this process's catalogue in step with the admins' changes, made in any process.

Each change has a number. A caller carries the newest (`aisaas.callers`), and the
database refuses a reservation whose caller doesn't know the newest: so no call uses an older price,
and nothing is read again while nothing changes.

Outage: without the database the catalogue stays as it is, and nothing is reserved anyway.
"""

from __future__ import annotations

from aisaas.chat.catalogue import Catalogue
from aisaas.controls.lineup import ModelSource
from aisaas.controls.model_overrides import offers_of
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, Unavailable


class LiveCatalogue:
    def __init__(
        self, catalogue: Catalogue, database: ServiceDatabase, source: ModelSource
    ) -> None:
        self._catalogue = catalogue
        self._database = database
        self._source = source

    async def up_to(self, revision: int) -> None:
        """Catch up to this revision.

        Raises Unavailable when it has to be read and the database does not answer.
        """
        if revision != self._catalogue.revision:
            await self.read()

    async def read(self) -> None:
        """Read the newest. Raises Unavailable without the database."""
        try:
            async with self._database.transaction() as session:
                lineup = await self._source.read(session)
        except DependencyError as error:
            raise Unavailable from error
        offers = offers_of(lineup.lines, lineup.words)
        self._catalogue.offer(offers.values(), lineup.revision)
