"""The lock: closed, of wheels alone, for each supported platform, with any pip.

The package index that pip is configured for is asked; nothing is downloaded but its listings, and
for the tests of pip the packages, from pip's cache where they are.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aisaas.platform_support import GLIBC, LINUX_MACHINES, MACOS, PYTHONS
from aisaas.settings import PROJECT_ROOT

RUN = ("requirements.txt", "requirements-build.txt", "devstack/requirements.txt")
LOCKS = (*RUN, "requirements-dev.txt")
# pip 23.0.1 doesn't run on Python 3.12, where the oldest pip is the one the environment comes with.
OLD_PIP = "old-pip" if sys.version_info < (3, 12) else None
# How the Makefile has pip install a lock.
INSTALL = re.compile(r"-m pip install --quiet --quiet (.+) -r ")
NO_WHEEL = ("no wheels", "no usable wheels", "does not satisfy Python")
EXACT = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")


def pins(lock: str) -> list[Requirement]:
    text = (PROJECT_ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line.split(" --hash")[0] for line in text.splitlines() if EXACT.match(line)]
    return [Requirement(line) for line in lines]


def resolves(python: str, platform: str, environment: Mapping[str, str]) -> bool:
    """Whether every pin has a wheel with a known hash for a Python ("3.12") and a platform of uv."""
    with TemporaryDirectory() as target:
        command = [
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--dry-run", "--no-config"),
            *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", target),
            *("--python-version", python, "--python-platform", platform),
        ]
        command += [part for lock in LOCKS for part in ("-r", str(PROJECT_ROOT / lock))]
        ran = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, check=False
        )
    # Anything else, an index that can't be reached for one, says nothing about wheels.
    said = " ".join(ran.stderr.split())
    assert not ran.returncode or any(reason in said for reason in NO_WHEEL), said
    return ran.returncode == 0


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """uv asks where pip asks."""
    config = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(config, capture_output=True, text=True, check=True).stdout
    index = re.search(r"^(?:global|site|user|:env:)\.index-url='(.+)'$", listed, re.MULTILINE)
    return dict(os.environ) | ({"UV_DEFAULT_INDEX": index[1]} if index else {})


def uv_platforms(glibc: tuple[int, int]) -> list[str]:
    return [f"{machine}-manylinux_{glibc[0]}_{glibc[1]}" for machine in LINUX_MACHINES]


@pytest.mark.parametrize("python", [f"{major}.{minor}" for major, minor in PYTHONS])
def test_each_supported_platform_has_wheels_for_every_pin(
    python: str, environment: dict[str, str]
) -> None:
    for platform in uv_platforms(GLIBC):
        assert resolves(python, platform, environment), platform
    macos = environment | {"MACOSX_DEPLOYMENT_TARGET": f"{MACOS[0]}.{MACOS[1]}"}
    assert resolves(python, "aarch64-apple-darwin", macos)


def test_what_is_refused_has_no_wheels(environment: dict[str, str]) -> None:
    """So that nothing is refused which would work."""
    for platform in uv_platforms((GLIBC[0], GLIBC[1] - 1)):
        assert not resolves("3.11", platform, environment), platform
    assert not resolves("3.11", "x86_64-unknown-linux-musl", environment)
    assert not resolves("3.11", "x86_64-apple-darwin", environment)
    too_old = environment | {"MACOSX_DEPLOYMENT_TARGET": f"{MACOS[0] - 1}.0"}
    assert not resolves("3.11", "aarch64-apple-darwin", too_old)
    newer = f"{PYTHONS[-1][0]}.{PYTHONS[-1][1] + 1}"
    assert not resolves(newer, uv_platforms(GLIBC)[0], environment)
    older = f"{PYTHONS[0][0]}.{PYTHONS[0][1] - 1}"
    assert not resolves(older, uv_platforms(GLIBC)[0], environment)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_the_lock_is_an_exact_pin_with_a_hash(lock: str) -> None:
    text = (PROJECT_ROOT / lock).read_text().replace("\\\n", " ")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    assert lines
    assert [line for line in lines if not EXACT.match(line) or "--hash=sha256:" not in line] == []


@pytest.mark.timeout(600)
def test_oldest_pip_installs_the_lock_and_resolves_nothing(tmp_path: Path) -> None:
    """As `make venv-run` does it, in a new environment: exactly the pins are there, and they fit."""
    venv = new_environment(tmp_path, OLD_PIP)
    # Which bytecode there is changes nothing here, and compiling it takes most of the time.
    made = make("venv-run", f"VENV={venv}", f"PYTHON={sys.executable}", PIP_COMPILE="0")
    assert made.returncode == 0, made.stderr
    listed = pip(venv, "list", "--format=json")
    installed: dict[str, str] = {
        canonicalize_name(each["name"]): each["version"] for each in json.loads(listed)
    }
    # Come with the environment itself.
    for name in {"pip", "setuptools"} - expected().keys():
        installed.pop(name, None)
    assert installed == expected()


@pytest.mark.timeout(600)
def test_newest_pip_would_install_the_same(tmp_path: Path) -> None:
    venv = new_environment(tmp_path, "newest-pip")
    [options] = INSTALL.findall((PROJECT_ROOT / "Makefile").read_text())
    report = pip(
        venv,
        *("install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"),
        *options.split(),
        *(part for lock in RUN for part in ("-r", lock)),
    )
    found: dict[str, str] = {
        canonicalize_name(each["metadata"]["name"]): each["metadata"]["version"]
        for each in json.loads(report)["install"]
    }
    assert found == expected()


def new_environment(folder: Path, pip_lock: str | None) -> Path:
    """A virtual environment with the pip of a lock, or with the one it comes with."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if pip_lock:
        lock = f"tests/install/{pip_lock}.txt"
        pip(venv, "install", "--quiet", "--require-hashes", "-r", lock)
        assert f"pip {str(pins(lock)[0].specifier).removeprefix('==')} " in pip(venv, "--version")
    return venv


def pip(venv: Path, *arguments: str) -> str:
    """What pip of an environment prints."""
    command = [str(venv / "bin" / "python"), "-m", "pip", *arguments]
    ran = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def expected() -> dict[str, str]:
    """The pins that apply here."""
    every = [pin for lock in RUN for pin in pins(lock)]
    applying = [pin for pin in every if not pin.marker or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in applying}


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/env", *(f"{name}={value}" for name, value in variables.items()), "make"]
    return subprocess.run(
        [*command, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
