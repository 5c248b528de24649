"""`run --reload`: what a changed source file restarts, and what happens if it doesn't work.

The app is a real process here, one whose only source file is short.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from aisaas.cli.run.reloading import Reloader, fingerprint
from childprocess.errors import StartError
from childprocess.ports import HOST, answers_http, free_port
from childprocess.processes import Process, Service
from childprocess.supervisor import Supervisor

APP = "aisaas/api/app.py"
SERVER = """
import http.server, sys
sys.path.insert(0, sys.argv[1])
from app import WORDS
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(WORDS)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""
PATIENCE_SECONDS = 30


@dataclass
class Project:
    root: Path
    url: str
    app: Process
    # Whether the app ran at each build.
    builds: list[bool] = field(default_factory=list[bool])
    trouble: StartError | None = None
    reloads: int = 0

    def __post_init__(self) -> None:
        self._reloader = Reloader(
            self.app, build=self._build, reloaded=self._reloaded, root=self.root
        )
        self._supervisor = Supervisor([self.app], say=lambda _: None, changed=lambda: None)

    def _build(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.builds.append(self.app.alive)

    def _reloaded(self) -> None:
        self.reloads += 1

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def look_until(self, condition: Callable[[], bool]) -> None:
        """As `run --reload` does, with a deadline."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            self.look()

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self._supervisor.look()
            self._reloader.look()

    def answers(self, words: str) -> bool:
        try:
            return httpx.get(self.url).text == words
        except httpx.TransportError:
            return False


@pytest.fixture
def project(tmp_path: Path) -> Generator[Project]:
    root, port = tmp_path / "project", free_port()
    source = root / APP
    source.parent.mkdir(parents=True)
    source.write_text("WORDS = b'first'")
    (root / "rxconfig.py").touch()
    app = Process(
        Service(
            name="app",
            title="App",
            port=port,
            # Without bytecode: two versions of one size within a second would look the same.
            argv=[sys.executable, "-B", "-c", SERVER, str(source.parent), str(port)],
            log=tmp_path / "app.log",
            answers=lambda: answers_http(port, "/"),
        )
    )
    made = Project(root, f"http://{HOST}:{port}/", app)
    app.start()
    yield made
    app.stop()


def test_changed_source_is_what_the_app_runs_next(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.answers("first")
    project.write(APP, "WORDS = b'second'")
    project.look_until(lambda: project.answers("second"))
    assert f"Changed: {APP}\n" in capsys.readouterr().out
    # Pages were brought up to date before, while the former app still ran.
    assert project.builds == [True]
    assert project.reloads == 1


def test_nothing_restarts_while_nothing_changes(project: Project) -> None:
    pid = project.app.pid
    project.write("aisaas/api/__pycache__/app.cpython-311.pyc", "made by Python")
    project.write("assets/external/linked.jsx", "made by the build")
    project.write("aisaas/api/.app.py.swp", "an editor's")
    project.write("aisaas/api/app.py~", "an editor's")
    project.write("tests/test_app.py", "no part of the app")
    project.look(3)
    assert (project.app.pid, project.reloads) == (pid, 0)


@pytest.mark.parametrize(
    "name",
    [
        *("aisaas/ui/page.py", "aisaas/ui/browser/part.jsx", "aisaas/chat/catalogue.json"),
        *("childprocess/tree.py", "assets/logo.svg", "rxconfig.py"),
    ],
)
def test_each_kind_of_source_is_watched(project: Project, name: str) -> None:
    before = fingerprint(project.root)
    project.write(name, "new")
    assert {path for path, _ in fingerprint(project.root).items() ^ before.items()} == {
        project.root / name
    }


def test_removed_source_reloads_too(project: Project) -> None:
    project.write("aisaas/api/old.py", "")
    project.look_until(lambda: project.reloads == 1)
    (project.root / "aisaas/api/old.py").unlink()
    project.look_until(lambda: project.reloads == 2)


def test_files_that_are_still_being_written_are_waited_for(project: Project) -> None:
    for number in range(5):
        project.write(APP, f"WORDS = b'{'x' * number}'")
        project.look()
    assert project.reloads == 0
    project.look_until(lambda: project.answers("xxxx"))
    assert project.reloads == 1


def test_code_that_does_not_start_is_reported_and_the_next_change_tries_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(APP, "WORDS = no_such_name")
    project.look_until(lambda: not project.answers("first"))
    said = capsys.readouterr().out
    assert "no_such_name" in said
    assert "Waiting for the next change." in said
    # Nobody starts it again before.
    project.look(3)
    assert project.app.pid is None
    project.write(APP, "WORDS = b'mended'")
    project.look_until(lambda: project.answers("mended"))
    assert project.reloads == 1


def test_front_end_that_does_not_build_leaves_the_former_app_running(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = project.app.pid
    project.trouble = StartError("The front end could not be built: a bracket is missing.")
    project.write("aisaas/ui/page.py", "(")
    project.look(3)
    assert project.answers("first")
    assert project.app.pid == pid
    said = capsys.readouterr().out
    assert said.count("a bracket is missing") == 1
    project.trouble = None
    project.write("aisaas/ui/page.py", "()")
    project.look_until(lambda: project.reloads == 1)
    assert project.app.pid != pid
