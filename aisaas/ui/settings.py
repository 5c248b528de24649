"""The settings that pages are built with: the allow-list, nothing else.

A build machine has no secrets, so the values are taken one by one; the app itself starts only with
settings that are valid as a whole (`aisaas.settings`).
"""

from __future__ import annotations

from aisaas.errors import ConfigurationError
from aisaas.settings import Settings, settings

_DEFAULT_NAME = Settings.model_fields["app_name"].default


def _browser_values() -> dict[str, str]:
    try:
        return settings().browser_values()
    except ConfigurationError:
        return {"app_name": _DEFAULT_NAME}


APP_NAME = _browser_values()["app_name"]
