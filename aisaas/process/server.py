"""How a process of the app is started: `run` starts one, measurements and tests several."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from aisaas.process import descriptors
from aisaas.settings import PROJECT_ROOT
from childprocess.ports import HOST, answers_http
from childprocess.processes import Service

# Beyond the time replies in progress get to finish.
STOP_MARGIN_SECONDS = 5.0
# And the server to kill its process when that doesn't end.
KILL_MARGIN_SECONDS = 1.0
START_SECONDS = 60.0
REFLEX = {
    "REFLEX_USE_NPM": "true",
    "REFLEX_TELEMETRY_ENABLED": "false",
    "REFLEX_CHECK_LATEST_VERSION": "false",
}
# Reflex's own switches for: production, the pages are compiled already, serve them here.
_SERVE = {
    "REFLEX_ENV_MODE": "prod",
    "__REFLEX_SKIP_COMPILE": "true",
    "__REFLEX_MOUNT_FRONTEND_COMPILED_APP": "true",
}
# Not `auto`: it would wait without end for the first byte of a connection, and HTTP/2 between a proxy
# and us wins nothing. A connection whose headers aren't there in time, or which brings no other request,
# is closed.
_AGAINST_STRANGERS = (
    *("--http", "1"),
    *("--http1-header-read-timeout", "10000"),
    *("--http1-buffer-size", "65536"),
    *("--backlog", "2048"),
)


# The database's owner's password is for migrations, and the rest is between systemd and the process it
# started: a worker that answered for it would hide that it hangs.
_NOT_THE_APPS = frozenset(
    {"MIGRATION_DATABASE_URL", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
)


def _given(env: Mapping[str, str]) -> dict[str, str]:
    """Everything else: the app is what the settings are for, and libraries have variables of theirs."""
    return {name: value for name, value in env.items() if name not in _NOT_THE_APPS}


def app_process(
    name: str,
    title: str,
    *,
    port: int,
    grace: float,
    env: Mapping[str, str],
    log: Path | None,
    host: str = HOST,
) -> Service:
    """The app on `port`; replies in progress get `grace` seconds when it is stopped."""
    limit = grace + STOP_MARGIN_SECONDS
    return Service(
        name=name,
        title=title,
        port=port,
        argv=[
            *(sys.executable, "-m", "granian", "--interface", "asgi"),
            *("--factory", "aisaas.serve:app"),
            *("--host", host, "--port", str(port)),
            *("--workers-kill-timeout", str(max(1, int(limit)))),
            *_AGAINST_STRANGERS,
            *("--backpressure", str(descriptors.connections())),
        ],
        env={**_given(env), **REFLEX, **_SERVE},
        cwd=PROJECT_ROOT,
        log=log,
        answers=lambda: answers_http(port, "/ping"),
        stop_seconds=limit + KILL_MARGIN_SECONDS,
        start_seconds=START_SECONDS,
    )
