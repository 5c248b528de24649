"""All fields together."""

from __future__ import annotations

from aisaas.settings.accounts import AccountFields
from aisaas.settings.datastores import DatastoreFields, RetentionFields
from aisaas.settings.instance import InstanceFields
from aisaas.settings.language_models import ModelFields
from aisaas.settings.notifications import NotificationFields
from aisaas.settings.payments import PaymentFields
from aisaas.settings.plans import PlanFields


class Fields(
    InstanceFields,
    DatastoreFields,
    AccountFields,
    NotificationFields,
    ModelFields,
    PlanFields,
    PaymentFields,
    RetentionFields,
):
    """The operator's settings, each value valid by itself."""
