"""`admin`, `user` and `credits`, as an operator types them."""

from __future__ import annotations

import getpass
import io
import json
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from aisaas.cli import environment, main
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.admin.members import new_admin
from tests.services import EMBEDDED, Database, new_principal, whole

WHY = ["--reason", "told us so"]
WHO = f"operator:{getpass.getuser()}"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Generator[Run]:
    """The command line in this process, on the tests' parts: exit code, output, complaints."""
    variables = stack.env | {"EMBEDDED_PARTS": EMBEDDED, "AISAAS_DATA_DIR": str(tmp_path)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)
    environment.configured.cache_clear()

    def type_in(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        said = capsys.readouterr()
        return code, said.out, said.err

    yield type_in
    environment.configured.cache_clear()


class Terminal(io.StringIO):
    """Someone who types an answer."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
async def another_admin(services: Services, database: Database) -> None:
    """So that a test's user is neither the first account nor the last admin."""
    await new_admin(services, database)


@pytest.fixture
async def email(services: Services) -> str:
    return (await new_principal(services)).email


def audit(database: Database, email: str) -> list[tuple[object, ...]]:
    return database(
        "select l.actor, l.action, l.before, l.after, l.reason from audit_log l"
        " join profiles p on l.subject = 'user:' || p.id where p.email = %s order by l.created_at",
        email,
    )


def id_of(database: Database, email: str) -> str:
    ((found,),) = database("select id from profiles where email = %s", email)
    return str(found)


def test_operator_makes_an_admin_and_ends_it_and_both_are_written_down(
    run: Run, database: Database, email: str
) -> None:
    user_id = id_of(database, email)
    assert run("admin", "grant", email, *WHY) == (0, f"{email} is an admin now.\n", "")
    assert run("admin", "grant", user_id, *WHY)[:2] == (0, f"{user_id} was one already.\n")
    assert f"{email}  {user_id}  since " in run("admin", "list")[1]
    _, said, _ = run("admin", "list", "--json")
    listed = {each["user_id"]: each for each in json.loads(said)}
    assert listed[user_id] == {
        "user_id": user_id,
        "email": email,
        "full_name": "Ada",
        "suspended": False,
    }
    code, said, _ = run("admin", "revoke", email, *WHY, "--json")
    assert (code, json.loads(said)) == (0, {"user_id": user_id, "role": "user", "changed": True})
    assert run("admin", "revoke", email, *WHY)[1] == f"{email} isn't an admin.\n"
    assert audit(database, email) == [
        (WHO, "role.set", {"role": "user"}, {"role": "admin"}, "told us so"),
        (WHO, "role.set", {"role": "admin"}, {"role": "user"}, "told us so"),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["admin", "grant", "nobody@example.com", *WHY], "No account has that email address or ID"),
        (["admin", "revoke", str(uuid4()), *WHY], "No account has that email address or ID"),
        (["admin", "grant", "{email}", "--reason", "  "], "Enter a reason"),
        (["admin", "grant", "{email}"], "--reason"),
        (["admin"], "required: action"),
        (["user", "show", "nobody@example.com"], "No account has that email address or ID"),
        (["credits", "grant", "{email}", "0", *WHY], "tokens must be from 1"),
        (
            ["credits", "grant", "nobody@example.com", "5", *WHY],
            "No account has that email address",
        ),
        (["credits", "grant", "{email}", "5", *WHY, "--expires", "2020-01-31"], "in the past"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_sentence_and_not_done(
    run: Run, database: Database, email: str, words: list[str], sentence: str
) -> None:
    code, said, complaint = run(*(word.format(email=email) for word in words))
    assert (code, said) == (2, "")
    assert sentence in complaint
    assert "Traceback" not in complaint
    assert audit(database, email) == []
    assert database("select role from profiles where email = %s", email) == [("user",)]


def test_script_reads_refusals_as_json(run: Run) -> None:
    code, said, _ = run("user", "show", "nobody@example.com", "--json")
    assert code == 2
    assert json.loads(said)["code"] == "not_found"


@pytest.mark.parametrize(
    "words", [["admin", "grant", "{email}", *WHY], ["credits", "grant", "{email}", "500", *WHY]]
)
def test_at_a_terminal_it_is_asked_first(
    run: Run, database: Database, email: str, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    typed = [word.format(email=email) for word in words]
    for answer in ("\n", "n\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        code, said, complaint = run(*typed)
        assert (code, said) == (1, "")
        assert "[y/N] Nothing was done." in complaint
    assert audit(database, email) == []
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run(*typed)[0] == 0
    assert len(audit(database, email)) == 1
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    code, _, complaint = run(*typed, "--yes")
    assert (code, complaint) == (0, "")
    database("update profiles set role = 'user' where email = %s", email)


def test_credits_are_there_at_once_and_kept_with_their_reason(
    run: Run, database: Database, email: str
) -> None:
    words = ("credits", "grant", email, "50000", *WHY)
    assert run(*words) == (0, f"Granted 50,000 quota tokens to {email}.\n", "")
    code, said, _ = run(*words, "--expires", "2999-01-31", "--json")
    granted = json.loads(said)
    assert (code, granted["tokens"]) == (0, 50000)
    rows = database(
        "select g.tokens, g.reason, g.granted_by, g.expires_at::text from credit_grants g"
        " join profiles p on p.id = g.user_id where p.email = %s order by g.created_at",
        email,
    )
    end = "2999-01-31 23:59:59+00"
    assert rows == [(50000, "told us so", WHO, None), (50000, "told us so", WHO, end)]
    noted = {"grant": granted["grant"], "tokens": 50000, "expires_at": "2999-01-31T23:59:59+00:00"}
    assert audit(database, email)[1] == (WHO, "credits.grant", None, noted, "told us so")


async def used(services: Services, secret: str) -> str:
    ada = await new_principal(services)
    started = await services.chat.send(ada, secret, conversation_id=None, model="demo")
    await whole(services, ada, started)
    return ada.email


@pytest.fixture
async def talkative(services: Services) -> tuple[str, str]:
    """Someone's address, and what they wrote."""
    secret = f"secret {uuid4().hex}"
    return await used(services, secret), secret


def test_user_is_shown_without_a_word_of_theirs(
    run: Run, database: Database, talkative: tuple[str, str]
) -> None:
    email, secret = talkative
    user_id = UUID(id_of(database, email))
    code, said, complaint = run("user", "show", email)
    assert (code, complaint) == (0, "")
    for words in (email, str(user_id), "Free, free", "tokens used", "Sessions", "Failed replies"):
        assert words in said
    code, facts, _ = run("user", "show", str(user_id), "--json")
    found = json.loads(facts)
    assert (code, found["standing"]["email"], found["plan"]) == (0, email, "free")
    assert found["days"][0]["requests"] >= 1
    assert found["allowance"]["used"] > 0
    assert float(found["money"]["cost_usd"]) >= 0
    for written in (said, facts):
        assert secret not in written
        assert secret.split()[1] not in written


def test_extra_usage_that_was_written_off_is_said(
    run: Run, database: Database, talkative: tuple[str, str]
) -> None:
    email, _ = talkative
    user_id = id_of(database, email)
    database(
        "insert into subscriptions (id, user_id, stripe_customer_id, status, plan)"
        " values (%s, %s, %s, 'canceled', 'pro')",
        f"sub_{user_id}",
        user_id,
        f"cus_{user_id}",
    )
    assert "written off" not in run("user", "show", email)[1]
    database(
        "insert into private.write_offs (period_key, user_id, subscription_id, reason, tokens, usd)"
        " values (%s, %s, %s, 'payment_failed', 700, 8.641975)",
        f"sub_{user_id}:1",
        user_id,
        f"sub_{user_id}",
    )
    assert "$8.64 written off" in run("user", "show", email)[1]


def test_help_says_what_each_does(run: Run) -> None:
    for command, words in {"admin": ["grant", "revoke", "list"], "user": ["show"]}.items():
        code, said, _ = run(command, "--help")
        assert code == 0
        assert all(word in said for word in words)
    code, said, _ = run("admin", "grant", "--help")
    assert (code, "never what a user wrote" in " ".join(said.split())) == (0, True)
