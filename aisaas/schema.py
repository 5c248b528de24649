"""The tables of every domain. Importing a class is what makes it part of the metadata."""

from __future__ import annotations

from sqlmodel import SQLModel

from aisaas.accounts import models as accounts
from aisaas.audit import models as audit
from aisaas.billing.job_failures import tables as jobs
from aisaas.billing.ledger import tables as ledger
from aisaas.billing.ledger import usage_models as usage
from aisaas.billing.metering import tables as metering
from aisaas.billing.notices import tables as notices
from aisaas.billing.providers import tables as providers
from aisaas.billing.reservations import tables as reservations
from aisaas.billing.subscriptions import tables as subscriptions
from aisaas.chat import models as chat
from aisaas.controls import models as controls

MODULES = (
    *(accounts, audit, controls, usage, chat),
    *(jobs, ledger, metering, notices, providers, reservations, subscriptions),
)

metadata = SQLModel.metadata
