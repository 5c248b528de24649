"""Which new passwords and addresses are taken, at the edge of each rule; the browser says the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from aisaas.accounts.addresses import NOT_AN_ADDRESS, NOT_ASCII, ascii_address
from aisaas.accounts.passwords import check_new_password, common_passwords
from aisaas.errors import AuthError
from aisaas.settings import PROJECT_ROOT
from aisaas.wiring import services
from tests.accounts.browsing import cookies, send, signed_in, signed_up
from tests.accounts.conftest import PASSWORD, new_email

OWN = {"email": "ada.lovelace@example.com", "full_name": "Ada King", "product": "Acme Chat"}
TAKEN = [
    "12345678"[::-1] + "x",
    "a" * 36 + "bc" * 18,
    "яблоко и груша",
    "бв" * 17 + "гд",
    "Ada King loves mathematics",
    "password manager for life",
]
REFUSED = [
    ("1234567", "weak_password"),
    ("пароль", "weak_password"),
    ("ab" * 36 + "c", "password_too_long"),
    ("абв" * 12 + "г", "password_too_long"),
    ("🙂" * 18 + "abc", "password_too_long"),
    ("aaaaaaaaaa", "password_common"),
    ("abababab", "password_common"),
    ("яяяяяяяя", "password_common"),
    ("Ada.Lovelace@Example.com", "password_personal"),
    ("adalovelace1815", "password_personal"),
    ("ADA-KING!", "password_personal"),
    ("acme chat 2026", "password_personal"),
    ("Example.com", "password_personal"),
]
LISTED = ["password", "PassWord1", "qwertyuiop", "1q2w3e4r", "пароль123", "welcome2026", "iloveyou"]


@pytest.mark.parametrize("password", TAKEN)
def test_a_password_that_is_hard_to_guess_is_taken(password: str) -> None:
    check_new_password(password, **OWN)


@pytest.mark.parametrize(
    ("password", "code"), [*REFUSED, *((each, "password_common") for each in LISTED)]
)
def test_a_password_that_is_easy_to_guess_or_too_long_is_refused(password: str, code: str) -> None:
    with pytest.raises(AuthError) as caught:
        check_new_password(password, **OWN)
    assert caught.value.code == code


def test_the_list_is_bounded_and_holds_only_what_can_match() -> None:
    assert 4000 <= len(common_passwords()) <= 10_000
    assert all(len(each) >= 8 and each == each.lower() for each in common_passwords())


def test_the_browser_says_the_same_before_sending(tmp_path: Path) -> None:
    # Node knows a module by its suffix; React isn't needed for the rules.
    source = (PROJECT_ROOT / "aisaas/ui/browser/passwords.jsx").read_text("utf-8")
    module = tmp_path / "passwords.mjs"
    module.write_text(source.replace('import { useEffect, useRef } from "react";', ""), "utf-8")
    passwords = [*TAKEN, *(password for password, _ in REFUSED)]
    own = {"email": OWN["email"], "fullName": OWN["full_name"], "product": OWN["product"]}
    script = f"""
      import {{ problemOf }} from {json.dumps(module.as_uri())};
      console.log(JSON.stringify({json.dumps(passwords)}.map((each) => problemOf(each, {json.dumps(own)}))));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True
    )

    def sentence(password: str) -> str:
        try:
            check_new_password(password, **OWN)
        except AuthError as error:
            return error.sentence
        return ""

    assert json.loads(done.stdout) == [sentence(each) for each in passwords]


async def test_sign_up_and_change_refuse_what_is_easy_to_guess(browser: httpx.AsyncClient) -> None:
    email = new_email()
    for password, code in (
        ("password123", "password_common"),
        ("ж" * 35 + "абв", "password_too_long"),
    ):
        answer = await send(
            browser, "session/sign-up", email=email, password=password, full_name="Ada King"
        )
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    await signed_up(browser, email)
    for password, code in ((email, "password_personal"), ("qwertyuiop", "password_common")):
        answer = await send(
            browser, "account/password", current_password=PASSWORD, new_password=password
        )
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    longest = "жуб" * 12
    answer = await send(
        browser, "account/password", current_password=PASSWORD, new_password=longest
    )
    assert answer.status_code == 200
    assert await signed_in(browser, email, longest)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@пример.рф", "ada@xn--e1afmkfd.xn--p1ai"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        (" ada+chat@example.com ", "ada+chat@example.com"),
    ],
)
def test_a_domain_in_any_script_is_stored_as_the_auth_server_takes_it(
    typed: str, stored: str
) -> None:
    assert ascii_address(typed) == stored


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [("zoë@example.com", NOT_ASCII), ("ada", NOT_AN_ADDRESS), ("ada@", NOT_AN_ADDRESS)],
)
def test_an_address_that_cannot_be_stored_is_explained(typed: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.split(",", maxsplit=1)[0]):
        ascii_address(typed)


async def test_someone_with_an_international_domain_signs_up_and_in(
    browser: httpx.AsyncClient,
) -> None:
    local = new_email().partition("@")[0]
    await signed_up(browser, f"{local}@bücher.example")
    principal = await services().accounts.principal(cookies(browser))
    assert principal.email == f"{local}@xn--bcher-kva.example"
    assert await signed_in(browser, f"{local}@bücher.example")
    refused = await send(
        browser, "session/sign-up", email="zoë@example.com", password=PASSWORD, full_name="Zoë"
    )
    assert refused.status_code == 422
    assert refused.json()["fields"] == {"email": NOT_ASCII}
