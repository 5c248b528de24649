"""The build's npm installs what the lock says, and fails where the lock would have to change."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from aisaas.cli.build import frontend
from aisaas.settings import load
from childprocess import locked_npm
from childprocess.errors import StartError
from childprocess.node import node_environment
from devstack.stack import Stack
from tests.services import EMBEDDED


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A manifest and its lock; the one package is a folder, so nothing is fetched from anywhere."""
    folder = tmp_path / "web"
    own = folder / "own"
    own.mkdir(parents=True)
    scripts = {"postinstall": "touch ../ran"}
    _write(own / "package.json", {"name": "own", "version": "1.2.3", "scripts": scripts})
    root = {"name": "pages", "dependencies": {"own": "file:own"}}
    _write(folder / "package.json", root)
    _write(
        folder / "package-lock.json",
        {
            "name": "pages",
            "lockfileVersion": 3,
            "requires": True,
            "packages": {
                "": root,
                "own": {"version": "1.2.3", "hasInstallScript": True},
                "node_modules/own": {"resolved": "own", "link": True, "version": "1.2.3"},
            },
        },
    )
    return folder


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def npm(project: Path, *arguments: str) -> tuple[int, str]:
    """Its exit status, and the reason that it left behind."""
    why = project / "why"
    env = node_environment(project.parent / "node", locked=True)
    env |= {locked_npm.WHY_IT_FAILED: str(why)}
    done = subprocess.run(
        ["npm", *arguments], cwd=project, env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, why.read_text() if why.exists() else done.stderr


def test_install_is_ci_and_leaves_the_lock_alone(project: Path) -> None:
    before = (project / "package-lock.json").read_text()
    (project / "node_modules").mkdir()
    (project / "node_modules" / "stray").touch()
    assert npm(project, "install", "--legacy-peer-deps")[0] == 0
    assert (project / "node_modules" / "own" / "package.json").is_file()
    # As `npm ci` does: what was there before is gone, and no package's script has run.
    assert not (project / "node_modules" / "stray").exists()
    assert not (project / "ran").exists()
    assert (project / "package-lock.json").read_text() == before


def test_what_the_lock_has_is_added_by_doing_nothing(project: Path) -> None:
    for package in ("own", "own@1.2.3", "own@v1.2.3"):
        add = ("add", "--legacy-peer-deps", "-D", package, "--loglevel", "silly")
        assert npm(project, *add) == (0, "")
    assert not (project / "node_modules").exists()


@pytest.mark.parametrize("package", ["own@1.2.4", "other", "@scope/other@1.0.0"])
def test_what_the_lock_lacks_fails_and_says_how_to_get_it(project: Path, package: str) -> None:
    status, why = npm(project, "add", "--legacy-peer-deps", "own@1.2.3", package)
    assert status == 1
    assert why.startswith(
        f"reflex.lock/ lacks {package}. Run `python -m aisaas build --update-lock`"
    )


def test_what_no_page_needs_fails_too(project: Path) -> None:
    status, why = npm(project, "remove", "--legacy-peer-deps", "own")
    assert status == 1
    assert "has own, which no page needs" in why


def test_a_lock_that_does_not_fit_its_manifest_fails(project: Path) -> None:
    manifest = json.loads((project / "package.json").read_text())
    manifest["dependencies"]["left-pad"] = "^1.3.0"
    _write(project / "package.json", manifest)
    status, why = npm(project, "install", "--legacy-peer-deps")
    assert status == 1
    assert "reflex.lock/package-lock.json doesn't fit reflex.lock/package.json" in why
    assert not (project / "node_modules" / "left-pad").exists()


def test_everything_else_is_npm_itself(project: Path) -> None:
    assert npm(project, "--version")[0] == 0
    assert npm(project, "run", "no-such-script")[0] != 0


def test_a_build_says_what_the_lock_lacks(
    project: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: list[str], *, env: dict[str, str], cwd: Path, log: Path) -> int:
        asked = ["npm", "add", "--legacy-peer-deps", "left-pad@1.3.0"]
        return subprocess.run(
            asked, cwd=project, env=env, capture_output=True, check=False
        ).returncode

    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    settings = load(**(values | {"embedded_parts": EMBEDDED}))
    monkeypatch.setattr(frontend, "run", run)
    monkeypatch.setattr(frontend, "STAMP", tmp_path / "stamp.json")
    with pytest.raises(StartError, match=r"lacks left-pad@1\.3\.0.*--update-lock"):
        frontend.build(settings, stack.folder)
