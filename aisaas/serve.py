"""What Granian's worker runs: the app, tied to the life of the server that started it.

Granian's workers survive a kill -9 of their master; without this they would hold the port.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

from aisaas import logs, observing
from aisaas.process import descriptors
from aisaas.settings import settings
from childprocess.launch import die_with_parent

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def app() -> ASGIApp:
    """The ASGI application, for `granian --factory`."""
    die_with_parent()
    # Until the settings say more: what makes them unfit is a line like all others.
    logs.configure("INFO", (), form="json" if os.environ.get("LOG_FORMAT") == "json" else "text")
    try:
        descriptors.raise_limit()
        config = settings()
        observing.begin(config)
        # Nothing that is loaded goes away again: looking for garbage meanwhile takes a tenth of the time.
        gc.disable()
        # Imported in the worker only: the app module builds the pages as it is imported.
        from aisaas.aisaas import app as pages  # noqa: PLC0415
        from aisaas.ui import strangers  # noqa: PLC0415
        from aisaas.wiring import services  # noqa: PLC0415

        gc.enable()
        # Wraps everything, so that a refusal costs next to nothing.
        these = services()
        return strangers.limited(pages, pages(), cookie=these.cookie, tabs=these.bulkheads.tabs)
    except Exception:
        logging.getLogger(__name__).critical("the app could not be loaded", exc_info=True)
        sys.exit(1)
