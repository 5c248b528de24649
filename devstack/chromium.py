"""A Chromium for the tests, also on a machine that has none and no right to install one.

On Linux x64 it is an npm package, pinned by the lock file in `devstack/browser/`, which brings the
shared libraries a bare system lacks; elsewhere an installed browser. `CHROMIUM` overrides both.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from childprocess.node import node_environment, node_program

ROOT = Path(__file__).resolve().parents[1]
RECIPE = Path(__file__).with_name("browser")
HOME = ROOT / ".aisaas" / "chromium"
INSTALLED = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# Chromium's own sandbox needs privileges that neither root nor a container has; the pages it opens
# here are ours.
ARGUMENTS = ("--no-sandbox",)


def chromium_path() -> tuple[str, list[str]]:
    """The browser and its launch arguments, for Playwright; unpacked at the first call.

    Raises:
        RuntimeError: there is no browser for this machine.
    """
    if given := os.environ.get("CHROMIUM"):
        return given, list(ARGUMENTS)
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return str(_unpacked()), list(ARGUMENTS)
    found = [path for name in INSTALLED if (path := shutil.which(name))]
    found += [path for path in APPLICATIONS if Path(path).is_file()]
    if not found:
        raise RuntimeError(
            "no Chromium for this machine: install chromium or google-chrome, or set CHROMIUM to "
            "the path of one"
        )
    return found[0], list(ARGUMENTS)


def _unpacked() -> Path:
    recipe = "\n".join(path.read_text() for path in sorted(RECIPE.iterdir()) if path.is_file())
    start, made_by = HOME / "start.sh", HOME / "recipe"
    if made_by.is_file() and made_by.read_text() == recipe:
        return start
    # Built in place, since the paths are written into it; the recipe comes last and makes it count.
    shutil.rmtree(HOME, ignore_errors=True)
    browser = HOME / "browser"
    browser.mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "unpack.mjs"):
        shutil.copy(RECIPE / name, HOME)
    env = node_environment(HOME / "bin") | {"TMPDIR": str(browser)}
    for command in ([HOME / "bin" / "npm", "ci", "--silent"], [node_program(), "unpack.mjs"]):
        subprocess.run(command, cwd=HOME, env=env, check=True)  # noqa: S603  # our own two programs
    (browser / "fonts" / "fonts.conf").write_text(
        '<?xml version="1.0"?>\n<fontconfig>'
        f"<dir>{browser}/fonts</dir><dir>/usr/share/fonts</dir>"
        f"<cachedir>{browser}/font-cache</cachedir></fontconfig>\n"
    )
    start.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH='{browser}/al2023/lib' FONTCONFIG_PATH='{browser}/fonts'\n"
        f"exec '{browser}/chromium' \"$@\"\n"
    )
    start.chmod(0o755)
    shutil.rmtree(HOME / "node_modules")
    made_by.write_text(recipe)
    return start


if __name__ == "__main__":
    chromium_path()
