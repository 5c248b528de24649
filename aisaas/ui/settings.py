"""The settings that pages are built with: the name. All other public values come from the running
server (`api.site`), so that one build serves every install.
"""

from __future__ import annotations

from aisaas.errors import ConfigurationError
from aisaas.settings import built_values, settings

APP_NAME = built_values()["app_name"]


def foreign_origins() -> tuple[str, ...]:
    """The origins besides our own whose pages may connect; none where only pages are built."""
    try:
        return settings().allowed_origins
    except ConfigurationError:
        return ()
