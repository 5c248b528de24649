"""What the check before the first download lets through, and what it refuses with which advice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aisaas import platform_support
from aisaas.platform_support import Platform, this_platform, why_unsupported
from aisaas.settings import PROJECT_ROOT

FILE = platform_support.__file__
DEBIAN_12 = Platform("CPython", (3, 11), False, 64, "Linux", "x86_64", "glibc", (2, 36))
MACOS_13 = Platform("CPython", (3, 12), False, 64, "Darwin", "arm64", "", (13, 0))


@pytest.mark.parametrize("python", [(3, 11), (3, 12), (3, 13), (3, 14)])
@pytest.mark.parametrize(
    "platform",
    [
        DEBIAN_12,
        DEBIAN_12._replace(release=(2, 34)),
        DEBIAN_12._replace(release=(3, 0)),
        DEBIAN_12._replace(machine="aarch64"),
        MACOS_13,
        MACOS_13._replace(release=(26, 1)),
    ],
)
def test_supported_platforms_are_let_through(platform: Platform, python: tuple[int, int]) -> None:
    assert why_unsupported(platform._replace(python=python)) == ""


@pytest.mark.parametrize(
    ("platform", "problem", "advice"),
    [
        (DEBIAN_12._replace(python=(3, 10)), "CPython 3.10 is not", "Install CPython 3.11, 3.12"),
        (DEBIAN_12._replace(python=(3, 15)), "CPython 3.15 is not", "PYTHON=/path/to/python3"),
        (DEBIAN_12._replace(implementation="PyPy"), "PyPy 3.11 is not", "Install CPython"),
        (DEBIAN_12._replace(free_threaded=True), "free-threaded build", "Install CPython"),
        (DEBIAN_12._replace(bits=32), "32-bit Python", "Install a 64-bit one"),
        (DEBIAN_12._replace(release=(2, 33)), "glibc 2.33 is too old", "Debian 12"),
        (DEBIAN_12._replace(release=(1, 99)), "glibc 1.99 is too old", "Debian 12"),
        (DEBIAN_12._replace(libc="", release=(0, 0)), "has no glibc", "Ubuntu 22.04"),
        (DEBIAN_12._replace(machine="riscv64"), "riscv64", "x86_64 or aarch64"),
        (MACOS_13._replace(machine="x86_64"), "macOS on Intel", "Apple silicon"),
        (MACOS_13._replace(release=(12, 7)), "macOS 12.7 is too old", "macOS 13"),
        (DEBIAN_12._replace(system="Windows"), "Windows is not supported", "WSL 2"),
        (DEBIAN_12._replace(system="FreeBSD"), "FreeBSD is not supported", "Use Linux"),
    ],
)
def test_others_are_refused_with_what_to_do(platform: Platform, problem: str, advice: str) -> None:
    sentence = why_unsupported(platform)
    assert problem in sentence
    assert advice in sentence


def test_this_machine_is_recognized() -> None:
    found = this_platform()
    assert found.python == sys.version_info[:2]
    assert found.release > (2, 0)
    assert why_unsupported(found) == ""


def test_file_runs_by_itself_and_says_nothing_where_all_is_well() -> None:
    command = [sys.executable, "-I", FILE]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_make_refuses_a_python_before_it_downloads_anything(tmp_path: Path) -> None:
    # One that is too old, and leaves a trace when it is asked for anything but its version.
    old = tmp_path / "python3"
    as_old = f"import sys; sys.version_info = (3, 10); import runpy; runpy.run_path({FILE!r}, run_name='__main__')"
    old.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  *version_info*) exit 0 ;;\n"
        f'  *platform_support.py) exec {sys.executable} -c "{as_old}" ;;\n'
        f"  *) touch '{tmp_path}/used' ;;\n"
        "esac\n"
    )
    old.chmod(0o755)
    ran = subprocess.run(
        ["/usr/bin/env", "make", "run", f"PYTHON={old}", f"VENV={tmp_path}/venv"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert "CPython 3.10 is not supported. Install CPython 3.11, 3.12" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["python3"]


def test_make_says_what_to_install_where_there_is_no_python(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["/usr/bin/env", "make", "venv", f"PYTHON={tmp_path}/none", f"VENV={tmp_path}/venv"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert "Install Python 3.11 to 3.14" in ran.stderr
