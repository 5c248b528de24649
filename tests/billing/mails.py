"""The mails of notices, for tests of the code that records them."""

from __future__ import annotations

from typing import cast
from uuid import uuid4

from aisaas.billing.notices.mail import MailContext, write
from aisaas.billing.plans.terms import plans
from aisaas.settings import load
from tests.settings.test_env_example import REQUIRED

URL = "https://chat.example.com"


def mail_context() -> MailContext:
    return MailContext("Chat & Co", URL, plans(load(_env_file=None, **REQUIRED)))


def can_be_mailed(kind: object, values: object) -> bool:
    """Raises what is missing, wherever a notice was recorded that no mail can be written of."""
    assert isinstance(values, dict)
    recorded = cast("dict[str, object]", values)
    return bool(write(uuid4(), str(kind), recorded, "ada@example.com", mail_context()).text)
