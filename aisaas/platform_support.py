"""Which Pythons and platforms are supported: those every pinned package has a wheel for.

`make` runs this file by itself before anything is downloaded, with whatever `python3` it finds, so it
imports nothing but the standard library and parses on Python 3.6. `tests/install` resolves the
pins for each supported pair and fails when this table promises too much or too little.
"""

import platform
import struct
import sys
import sysconfig
from typing import NamedTuple

PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
GLIBC = (2, 34)
MACOS = (13, 0)
LINUX_MACHINES = ("x86_64", "aarch64")
MACOS_MACHINES = ("arm64",)

_PYTHON_NAMES = ", ".join("{}.{}".format(*version) for version in PYTHONS[:-1])
_ANOTHER_PYTHON = (
    f"Install CPython {_PYTHON_NAMES} or {'{}.{}'.format(*PYTHONS[-1])} and try again; "
    "if it isn't found, name it: make run PYTHON=/path/to/python3"
)
_A_LINUX = "for example Debian 12, Ubuntu 22.04, RHEL 9 or newer"


class Platform(NamedTuple):
    """What decides whether wheels exist for an interpreter."""

    implementation: str
    """As `platform.python_implementation()`: "CPython", "PyPy", …"""
    python: "tuple[int, int]"
    free_threaded: bool
    bits: int
    """32 or 64: of the interpreter, not of the machine."""
    system: str
    """As `platform.system()`: "Linux", "Darwin", "Windows", …"""
    machine: str
    """As `platform.machine()`: "x86_64", "arm64", …"""
    libc: str
    """"glibc", or anything else (musl reports "")."""
    release: "tuple[int, int]"
    """The version of glibc on Linux, of macOS on Darwin, (0, 0) elsewhere."""


def this_platform() -> Platform:
    """The platform of the running interpreter."""
    system = platform.system()
    libc, libc_version = platform.libc_ver()
    version = platform.mac_ver()[0] if system == "Darwin" else libc_version
    return Platform(
        implementation=platform.python_implementation(),
        python=sys.version_info[:2],
        free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        bits=struct.calcsize("P") * 8,
        system=system,
        machine=platform.machine(),
        libc=libc,
        release=_major_minor(version),
    )


def why_unsupported(found: Platform) -> str:
    """What isn't supported and how to fix it, or "" if everything is."""
    python = "{} {}.{}".format(found.implementation, *found.python)
    if found.implementation != "CPython" or found.python not in PYTHONS:
        return f"{python} is not supported. {_ANOTHER_PYTHON}"
    if found.free_threaded:
        return f"The free-threaded build of {python} is not supported. {_ANOTHER_PYTHON}"
    if found.bits != 64:  # noqa: PLR2004
        return f"A {found.bits}-bit Python is not supported. Install a 64-bit one and try again."
    if found.system == "Linux":
        return _why_not_linux(found)
    if found.system == "Darwin":
        return _why_not_macos(found)
    if found.system == "Windows":
        return "Windows is not supported. Use WSL 2 with Ubuntu 22.04 or newer."
    return f"{found.system or 'This system'} is not supported. Use Linux, {_A_LINUX}."


def _why_not_linux(found: Platform) -> str:
    if found.machine not in LINUX_MACHINES:
        return (
            f"Linux on {found.machine} is not supported. "
            f"Use a machine with {' or '.join(LINUX_MACHINES)}."
        )
    needed = "glibc {}.{}".format(*GLIBC)
    if found.libc != "glibc":
        return (
            f"This Linux has no glibc (Alpine, for one, has musl), and {needed} or newer is "
            f"needed. Use another one, {_A_LINUX}."
        )
    if found.release < GLIBC:
        return (
            f"glibc {'{}.{}'.format(*found.release)} is too old; {needed} or newer is needed. "
            f"Use a newer Linux, {_A_LINUX}."
        )
    return ""


def _why_not_macos(found: Platform) -> str:
    if found.machine not in MACOS_MACHINES:
        return (
            "macOS on Intel is not supported. On an Apple silicon Mac, install a Python for arm64; "
            f"on an Intel Mac, use a virtual machine with Linux, {_A_LINUX}."
        )
    if found.release < MACOS:
        return (
            f"macOS {'{}.{}'.format(*found.release)} is too old. "
            f"Update to macOS {MACOS[0]} or newer."
        )
    return ""


def _major_minor(version: str) -> "tuple[int, int]":
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    major, minor = [*numbers, 0, 0][:2]
    return (major, minor)


if __name__ == "__main__":
    sys.exit(why_unsupported(this_platform()) or 0)
