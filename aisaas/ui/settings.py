"""The settings that pages are built with: the name. The rest of what a browser may know is asked of
the running server (`api.site`), so that one build serves every install.

A build machine has no secrets, so the values are taken one by one; the app itself starts only with
settings that are valid as a whole (`aisaas.settings`).
"""

from __future__ import annotations

from aisaas.errors import ConfigurationError
from aisaas.settings import Settings, settings


def _built_values() -> dict[str, str]:
    try:
        return settings().built_values()
    except ConfigurationError:
        return Settings.model_construct().built_values()


APP_NAME = _built_values()["app_name"]
