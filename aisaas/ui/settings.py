"""The settings that pages are built with: the name. The rest of what a browser may know is asked of
the running server (`api.site`), so that one build serves every install.
"""

from __future__ import annotations

from aisaas.settings import built_values

APP_NAME = built_values()["app_name"]
