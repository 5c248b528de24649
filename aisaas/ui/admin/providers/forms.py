"""What a browser asks the providers page for, checked. Any client can send anything."""

from __future__ import annotations

from aisaas.admin.provider_reports import SPANS, HealthSpan
from aisaas.errors import ActionInvalid


def span(value: object) -> HealthSpan:
    for key in SPANS:
        if value == key:
            return key
    raise ActionInvalid("That option doesn't exist.")
