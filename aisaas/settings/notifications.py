"""Where mails and alerts go. Mails about signing in are the sign-in server's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from aisaas.settings.base import FieldGroup
from aisaas.settings.values import HOOK_URL, LONG_SECRET, MAILBOX, SMTP_URL


class NotificationFields(FieldGroup):
    smtp_url: Annotated[SecretStr | None, SMTP_URL] = None
    mail_from: Annotated[Annotated[str, Field(max_length=320)] | None, MAILBOX] = None
    # The address to which alerts about spending are posted in addition to being emailed. The address may carry a
    # token.
    alert_webhook_url: Annotated[SecretStr | None, HOOK_URL] = None
    alert_webhook_secret: Annotated[SecretStr | None, LONG_SECRET] = None
