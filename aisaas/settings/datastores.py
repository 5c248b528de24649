"""Postgres, Redis, and the auth server, and how long records are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from aisaas.settings.base import FieldGroup
from aisaas.settings.values import (
    BASE_URL,
    POSTGRES_URL,
    REDIS_URL,
    Listed,
    not_starting_with,
)


class DatastoreFields(FieldGroup):
    database_url: Annotated[SecretStr | None, POSTGRES_URL] = None
    service_database_url: Annotated[SecretStr | None, POSTGRES_URL] = None
    migration_database_url: Annotated[SecretStr | None, POSTGRES_URL] = None
    redis_url: Annotated[SecretStr | None, REDIS_URL] = None
    # Whether production may use a Postgres and a Redis on its own machine.
    allow_local_datastores: bool = False
    supabase_url: Annotated[str | None, BASE_URL] = None
    supabase_publishable_key: Annotated[
        SecretStr | None,
        not_starting_with(
            "sb_secret_", "this is a secret key; the publishable one starts with sb_publishable_"
        ),
    ] = None
    supabase_secret_key: Annotated[
        SecretStr | None,
        not_starting_with(
            "sb_publishable_", "this is the publishable key; the secret one starts with sb_secret_"
        ),
    ] = None
    mailbox_url: str | None = None
    # Names of the parts `aisaas run` started itself, comma separated; set by it, not by hand.
    embedded_parts: Listed = ()


class RetentionFields(FieldGroup):
    """How long records are kept (docs/operations/retention.md). The payment provider redelivers
    events for 30 days, so what keeps them from being handled twice stays longer."""

    retention_deleted_conversations_days: Annotated[int, Field(ge=0, le=3650)] = 1
    retention_records_days: Annotated[int, Field(ge=31, le=3650)] = 90
    retention_accounting_days: Annotated[int, Field(ge=90, le=3650)] = 400
