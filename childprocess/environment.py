"""What a child process inherits: an allow-list for each kind of program, and nothing else.

Provider keys, SESSION_SECRET and whatever else is in our environment stay here. A child that needs a
value of ours is given that one by name where it is started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Paths of programs, homes, and temporary files; formats of time and text; loading of code.
MACHINE = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TMP", "TEMP", "TZ", "TERM"),
    *("LANG", "LANGUAGE", "LC_*"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
    *("MALLOC_*", "ASAN_OPTIONS"),
)
CERTIFICATES = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "NODE_EXTRA_CA_CERTS",
)
PROXIES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
PYTHON = (
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
    *("PYTHONPYCACHEPREFIX", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONHASHSEED"),
    *("PYTHONWARNINGS", "PYTHONFAULTHANDLER", "PYTHONNOUSERSITE"),
)
# npm reads each of its settings, registries and their tokens among them, from npm_config_…; a .npmrc
# usually takes its token from one of the other two.
NPM = (
    *("npm_config_*", "NPM_CONFIG_*", "NPM_TOKEN", "NODE_AUTH_TOKEN"),
    *("NODE_OPTIONS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
)


def for_server() -> dict[str, str]:
    """For a third-party program that calls no other host: Postgres and its tools, Valkey."""
    return _allowed(MACHINE)


def for_python(*names: str) -> dict[str, str]:
    """For a Python program of ours that reaches only this machine; `names` are its own variables."""
    return _allowed((*MACHINE, *PYTHON, *names))


def for_node(*names: str) -> dict[str, str]:
    """For the build and npm, which fetch packages; `names` are other variables that the build
    reads."""
    return _allowed((*MACHINE, *PYTHON, *CERTIFICATES, *PROXIES, *NPM, *names))


def _allowed(names: tuple[str, ...], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    # An empty prefix would let everything through.
    assert "*" not in names
    exact = {name for name in names if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    return {
        name: value
        for name, value in environment.items()
        if name in exact or name.startswith(prefixes)
    }
