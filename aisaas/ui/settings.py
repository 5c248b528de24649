"""The settings that pages are built with: the allow-list, nothing else.

A build machine has no secrets, so the values are taken one by one; the app itself starts only with
settings that are valid as a whole (`aisaas.settings`).
"""

from __future__ import annotations

from aisaas.errors import ConfigurationError
from aisaas.settings import OAUTH_PROVIDERS, Settings, settings


def _browser_values() -> dict[str, str]:
    try:
        return settings().browser_values()
    except ConfigurationError:
        return Settings.model_construct().browser_values()


_VALUES = _browser_values()
APP_NAME = _VALUES["app_name"]
SIGN_UP_MODE = _VALUES["sign_up_mode"]
# (name, label) of each button.
PROVIDERS = tuple(
    (name, OAUTH_PROVIDERS[name]) for name in _VALUES["oauth_providers"].split(",") if name
)
CAPTCHA_PROVIDER = _VALUES["captcha_provider"]
CAPTCHA_SITE_KEY = _VALUES["captcha_site_key"]
