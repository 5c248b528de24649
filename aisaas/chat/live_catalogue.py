"""Keeps this process's catalogue in step with what admins changed, in whichever process.

Each change has a number. A principal comes with the newest (read in the same round trip), and a
reservation is refused by the database when its caller doesn't know the newest: so nothing is called
by an older price, and nothing is asked for again while nothing changes.

Outage: without the database the catalogue stays as it is, and nothing is reserved anyhow.
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
        """Know what is known under this number.

        Raises Unavailable when that has to be read and the database does not answer.
        """
        if revision != self._catalogue.revision:
            await self.read()

    async def read(self) -> None:
        """Know the newest. Raises Unavailable without the database."""
        try:
            async with self._database.transaction() as session:
                lineup = await self._source.read(session)
        except DependencyError as error:
            raise Unavailable from error
        offers = offers_of(lineup.lines, lineup.words)
        self._catalogue.offer(offers.values(), lineup.revision)
