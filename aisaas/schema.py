"""The tables of every domain. Importing a class is what makes it part of the metadata."""

from __future__ import annotations

from sqlmodel import SQLModel

from aisaas.accounts import models as accounts
from aisaas.admin import models as admin
from aisaas.admin import usage_models as usage
from aisaas.billing.tables import (
    jobs,
    ledger,
    metering,
    notices,
    providers,
    reservations,
    subscriptions,
)
from aisaas.chat import models as chat

MODULES = (
    *(accounts, admin, usage, chat),
    *(jobs, ledger, metering, notices, providers, reservations, subscriptions),
)

metadata = SQLModel.metadata
