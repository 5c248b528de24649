"""Alerts as JSON, posted to the operator's URL: a chat's incoming webhook, or a pager's.

The body has a message as `text`, which chats show, and the values it is made of. With a secret it is
signed as the payment provider signs: `t=<seconds>,v1=<hex of HMAC-SHA256 of "t.body">`.

Outage: the server has SECONDS to respond; redirects are not followed. The URL may contain a token, so
it never appears in an error or a log.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time

import httpx

from aisaas.billing.ports import Alert
from aisaas.errors import AlertError

SECONDS = 10.0
SIGNATURE = "X-Alert-Signature"
# Refusals that are worth a retry.
BUSY = frozenset({408, 425, 429})
CLIENT_ERRORS = range(300, 500)


class AlertWebhook:
    """Implements `billing.ports.AlertSink`."""

    def __init__(self, url: str, secret: str | None, *, app: str) -> None:
        self._url = url
        self._secret = secret
        self._app = app

    async def send(self, alert: Alert) -> None:
        body = json.dumps(
            {
                "id": str(alert.id),
                "kind": alert.kind,
                "app": self._app,
                "text": f"{self._app}: {alert.text}",
                **alert.values,
            }
        ).encode()
        try:
            # A new connection each time: alerts are few.
            async with (
                asyncio.timeout(SECONDS),
                httpx.AsyncClient(timeout=SECONDS) as client,
                client.stream(
                    "POST", self._url, content=body, headers=self._headers(alert, body)
                ) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise AlertError(type(error).__name__) from None
        if status in CLIENT_ERRORS and status not in BUSY:
            raise AlertError(f"status {status}", refused=True)
        if not httpx.codes.is_success(status):
            raise AlertError(f"status {status}")

    def _headers(self, alert: Alert, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(alert.id)}
        if self._secret is not None:
            at = str(int(time.time()))
            signed = hmac.new(self._secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
            headers[SIGNATURE] = f"t={at},v1={signed.hexdigest()}"
        return headers
