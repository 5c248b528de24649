"""The two ways to the database: as a user, and as the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisaas.db.engine import DatabasePool, PoolUse
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.observe.readiness import Dependency
from aisaas.settings import Settings

REACH_SECONDS = 3.0


@dataclass(frozen=True)
class Databases:
    user: UserDatabase
    service: ServiceDatabase
    _user_login: DatabasePool
    _service_login: DatabasePool

    def pools(self) -> Mapping[str, Mapping[str, PoolUse]]:
        """How much of each login's pools is in use."""
        return {"user": self._user_login.use(), "service": self._service_login.use()}

    def dependencies(self) -> tuple[Dependency, ...]:
        return (
            Dependency("database", lambda: self._user_login.reach("anon"), seconds=REACH_SECONDS),
            Dependency(
                "database_jobs",
                lambda: self._service_login.reach("service_role"),
                seconds=REACH_SECONDS,
            ),
        )

    async def close(self) -> None:
        await self._user_login.close()
        await self._service_login.close()


def build(config: Settings) -> Databases:
    """Connects to nothing."""
    assert config.database_url is not None
    service_url = config.service_database_url or config.database_url
    user_login = DatabasePool(config.database_url.get_secret_value())
    service_login = DatabasePool(service_url.get_secret_value())
    return Databases(
        UserDatabase(user_login), ServiceDatabase(service_login), user_login, service_login
    )
