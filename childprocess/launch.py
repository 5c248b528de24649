"""Run another program, tied to the life of the process that asked for it.

Run as a script: `launch.py PARENT SIGNAL IDENTITY MODE -- program arguments…`. It is a script, not
a `preexec_fn`, because Python code between fork and exec is not safe in a process with threads.

MODE `become`, for servers: turns into the program, and Linux delivers SIGNAL to it when its parent
ends, however it ends, kill -9 included. MODE `watch`, for builds and the like, which start programs
of their own that would survive: stays as their parent, checks that its own parent is still there,
and ends the whole process group when it isn't. Where the kernel offers no parent-death signal
(macOS) servers are watched too; a kill -9 of such a watcher leaves its program running.

IDENTITY selects the user: `same`; `userns` (root only: a user namespace in which root's files look
owned by an ordinary user, for programs which refuse root, without adding a user to the system);
`nobody` (root only: really become uid 65534, where namespaces are forbidden).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOBODY = 65534
SEPARATOR = "--"
BECOME = "become"
WATCH = "watch"
GRACE_SECONDS = 15
LOOK_SECONDS = 0.1


def _libc_call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process `signal_number` when its parent ends (Linux only)."""
    if sys.platform == "linux":
        _libc_call("prctl", PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def _enter_user_namespace() -> None:
    user, group = os.getuid(), os.getgid()
    _libc_call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


IDENTITIES = {
    "same": lambda: None,
    "userns": _enter_user_namespace,
    "nobody": _become_nobody,
}


def _watch(parent: int, stop: int, argv: list[str]) -> int:
    """Run the program as a child, pass signals on, and end the group when the parent is gone."""
    # One thread, so far and as far as this script goes: here the hook is safe.
    child = subprocess.Popen(argv, preexec_fn=die_with_parent)  # noqa: S603, PLW1509

    def pass_on(number: int, _frame: object) -> None:
        child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, pass_on)
    while child.poll() is None:
        if os.getppid() != parent:
            child.send_signal(stop)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
            # Kill its leftover processes, or itself if it ignored the signal; and this watcher.
            os.killpg(0, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
    return child.wait()


def main(arguments: list[str]) -> int:
    split = arguments.index(SEPARATOR)
    parent, stop, identity, mode = arguments[:split]
    argv = arguments[split + 1 :]
    # Changing identity clears the parent-death signal, so it comes first.
    IDENTITIES[identity]()
    if mode == WATCH or sys.platform != "linux":
        return _watch(int(parent), int(stop), argv)
    die_with_parent(int(stop))
    # If the parent died before the signal was armed, the signal never comes.
    if os.getppid() == int(parent):
        os.execvp(argv[0], argv)  # noqa: S606  # no shell is the point
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
