"""`python -m aisaas invite`, as an operator types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from devstack.stack import Stack
from tests.accounts.conftest import new_email
from tests.parts import Mailbox


@pytest.fixture
def mailbox(spare_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(spare_stack)
    yield box
    box.close()


def _invite(
    stack: Stack, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    env = os.environ | stack.env | {"AISAAS_DATA_DIR": str(folder)}
    env |= {"OLLAMA_API_BASE": "http://127.0.0.1:9", "SIGN_UP_MODE": "invitation"} | variables
    command = [sys.executable, "-m", "aisaas", "invite", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_invitation_is_sent_and_reported(
    spare_stack: Stack, mailbox: Mailbox, tmp_path: Path
) -> None:
    email = new_email()
    done = _invite(spare_stack, tmp_path, email, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["invited"] == email
    assert [mail["type"] for mail in mailbox.to(email)] == ["invite"]
    # A person who hasn't accepted yet gets another link.
    again = _invite(spare_stack, tmp_path, email)
    assert (again.returncode, again.stdout) == (0, f"Invited {email}.\n")


def test_international_domain_is_invited_as_the_sign_in_server_stores_it(
    spare_stack: Stack, mailbox: Mailbox, tmp_path: Path
) -> None:
    name = new_email().partition("@")[0]
    done = _invite(spare_stack, tmp_path, f"{name}@bücher.example")
    stored = f"{name}@xn--bcher-kva.example"
    assert (done.returncode, done.stdout) == (0, f"Invited {stored}.\n")
    assert [mail["type"] for mail in mailbox.to(stored)] == ["invite"]


def test_what_can_not_be_done_is_said_in_a_sentence(spare_stack: Stack, tmp_path: Path) -> None:
    rubbish = _invite(spare_stack, tmp_path, "ada")
    assert (rubbish.returncode, rubbish.stdout) == (2, "")
    assert "isn't an email address" in rubbish.stderr
    key = _invite(spare_stack, tmp_path, new_email(), "--json", SUPABASE_SECRET_KEY="sb_secret_x")
    assert key.returncode == 1
    assert set(json.loads(key.stdout)) == {"code", "message"}
    away = _invite(spare_stack, tmp_path, new_email(), SUPABASE_URL="http://127.0.0.1:9")
    assert away.returncode == 1
    assert "sign-in server isn't responding" in away.stderr
    assert away.stderr.count("\n") == 1, "nothing but the sentence"
    for each in (rubbish, key, away):
        assert "Traceback" not in each.stderr
