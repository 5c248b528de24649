"""What children inherit: what they need to run at all, and no value of ours that isn't theirs."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from aisaas.cli.build import frontend
from aisaas.settings import Settings, load
from childprocess import environment, node
from childprocess.processes import spawn
from devstack.stack import PARTS, Stack
from tests.services import EMBEDDED

# Whatever a Settings field may hold, and what nobody here has heard of.
UNKNOWN = ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "SOME_PRODUCT_KEY")
FORBIDDEN = (
    *(
        name.upper()
        for name in Settings.model_fields
        if name not in {"app_env", "app_name", "port"}
    ),
    *UNKNOWN,
)
MACHINE = {"HOME": "/root", "LANG": "C.UTF-8", "LC_TIME": "C", "TMPDIR": "/tmp", "TZ": "UTC"}
NETWORK = {
    "HTTPS_PROXY": "http://proxy.example:3128",
    "no_proxy": "localhost",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    "NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/own.pem",
}
NPM = {
    "npm_config_registry": "https://npm.example/",
    "npm_config_//npm.example/:_authToken": "a token of the registry's own",
    "NPM_CONFIG_USERCONFIG": "/root/.npmrc",
    "NPM_TOKEN": "another token of the registry's own",
}


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Our environment with everything in it; what must not travel."""
    for name, value in {**MACHINE, **NETWORK, **NPM}.items():
        monkeypatch.setenv(name, value)
    ours = {name: f"value-of-{name.lower()}-0123456789" for name in FORBIDDEN}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    return ours


@pytest.fixture
def started(full: dict[str, str], tmp_path: Path) -> Generator[Stack]:
    with Stack(tmp_path / "data") as stack:
        yield stack


def _environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if pair)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_no_part_has_a_value_of_ours_in_its_environment(
    started: Stack, full: dict[str, str]
) -> None:
    assert set(started.pids) == set(PARTS)
    for part, pid in started.pids.items():
        # These two write their titles over the place where the kernel shows the environment.
        given = started.processes[part].service.env
        shown = given if part in {"postgres", "valkey"} else _environment_of(pid)
        for inherited in (given, shown):
            assert not set(inherited.values()) & set(full.values()), part
            assert {name: inherited.get(name) for name in MACHINE} == MACHINE, part
            assert inherited["PATH"] == os.environ["PATH"], part


@pytest.mark.usefixtures("full")
def test_what_is_started_without_a_word_about_it_inherits_the_machine_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("wb") as output:
        assert spawn(["/usr/bin/env", "-0"], output=output.fileno()).wait() == 0
    pairs = out.read_bytes().split(b"\0")
    names = {pair.decode().partition("=")[0] for pair in pairs if pair}
    assert set(MACHINE) | {"PATH"} <= names
    assert not names & {*FORBIDDEN, *NETWORK, *NPM}


def test_the_build_reaches_its_registry_and_no_value_of_ours_reaches_it(
    full: dict[str, str], monkeypatch: pytest.MonkeyPatch, stack: Stack, tmp_path: Path
) -> None:
    given: dict[str, str] = {}

    def run(command: list[str], *, env: dict[str, str], cwd: Path, log: Path) -> int:
        given.update(env)
        return 1

    for name in full:
        monkeypatch.delenv(name)
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    settings = load(**(values | {"embedded_parts": EMBEDDED, "app_name": "A name"}))
    for name, value in full.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(frontend, "run", run)
    monkeypatch.setattr(frontend, "STAMP", tmp_path / "stamp.json")
    with pytest.raises(Exception, match="could not be built"):
        frontend.build(settings, stack.folder)
    assert not set(given.values()) & {*full.values(), *(secret for _, secret in settings.secrets())}
    wanted = MACHINE | NETWORK | NPM
    assert {name: given.get(name) for name in wanted} == wanted
    assert given["NPM_CONFIG_REGISTRY"] == NPM["npm_config_registry"]
    assert given["APP_NAME"] == "A name"
    assert given["PATH"].endswith(os.environ["PATH"])


@pytest.mark.usefixtures("full")
def test_npm_meets_the_registry_that_is_set_for_it(tmp_path: Path) -> None:
    env = node.node_environment(tmp_path / "node")
    assert env["NPM_CONFIG_REGISTRY"] == NPM["npm_config_registry"]
    assert not set(env) & set(FORBIDDEN)


def test_an_allow_list_never_lets_everything_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("LCX", "no")
    assert "LC_ALL" in environment.for_server()
    assert "LCX" not in environment.for_server()
    with pytest.raises(AssertionError):
        environment.for_python("*")
