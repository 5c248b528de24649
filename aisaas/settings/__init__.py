"""The only reader of the environment: one frozen object that is valid or doesn't exist.

`load()` reads the process environment and `.env`, and reports everything that is missing or
malformed together, by variable. Secrets are `SecretStr`; `browser_values()` is the allow-list of
values that may reach a browser. Each subject's fields have a module; plans are a table in
`plans.py`.
"""

from __future__ import annotations

from functools import lru_cache

from aisaas.settings.accounts import OAUTH_PROVIDERS
from aisaas.settings.base import PROJECT_ROOT
from aisaas.settings.instance import AppEnv, NameFields
from aisaas.settings.payments import STRIPE_LIVE_KEYS
from aisaas.settings.report import WHERE_TO_GET_IT, load
from aisaas.settings.values import MIN_SECRET_LENGTH
from aisaas.settings.whole import Settings

__all__ = [
    "MIN_SECRET_LENGTH",
    "OAUTH_PROVIDERS",
    "PROJECT_ROOT",
    "STRIPE_LIVE_KEYS",
    "WHERE_TO_GET_IT",
    "AppEnv",
    "Settings",
    "built_values",
    "load",
    "settings",
]


def built_values() -> dict[str, str]:
    """The same as `Settings.built_values`, also on a build machine, which has no secrets."""
    return NameFields().built_values()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load()
