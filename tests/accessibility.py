"""axe, which finds what people who can't see, hear or point would stumble over."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from playwright.sync_api import Page

from childprocess.node import node_environment
from devstack.chromium import ROOT

RECIPE = Path(__file__).with_name("axe")
HOME = ROOT / ".aisaas" / "axe"
FILES = ("package.json", "package-lock.json")


@cache
def axe() -> str:
    """Its script; fetched by npm at the first call, as the lock file says."""
    script = HOME / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file() or any(
        (HOME / name).read_text() != (RECIPE / name).read_text() for name in FILES
    ):
        HOME.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copy(RECIPE / name, HOME)
        npm = HOME / "bin" / "npm"
        env = node_environment(HOME / "bin")
        subprocess.run([npm, "ci", "--silent"], cwd=HOME, env=env, check=True)
    return script.read_text("utf-8")


def barriers(page: Page) -> list[str]:
    """What axe finds on the page as it is, by rule and element."""
    page.evaluate(axe())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
