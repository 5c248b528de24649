"""Accounts only by invitation, and accounts only past a captcha."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from childprocess.ports import free_port
from devstack.tests.auth_client import (
    PASSWORD,
    PUBLISHABLE,
    SECRET,
    VERSION,
    Connect,
    last_mail,
    new_email,
    refusal,
    serving,
    session_of,
    sign_in,
    variables_for,
)

CAPTCHA_SECRET = "captcha-secret"
PASSED = "passed"
CAREFUL = {"AUTH_AUTOCONFIRM": "false", "AUTH_MAIL_INTERVAL": "0"}


# By invitation


@pytest.fixture(scope="module")
def closed(auth_database_url: str, auth_log: Path) -> Iterator[str]:
    variables = variables_for(auth_database_url, **CAREFUL, AUTH_DISABLE_SIGNUP="true")
    with serving(variables, auth_log):
        yield variables["AUTH_PUBLIC_URL"]


async def test_nobody_makes_an_account_while_sign_up_is_closed(
    closed: str, connect: Connect
) -> None:
    client, email = connect(closed), new_email()
    sign_up = client.auth.sign_up({"email": email, "password": PASSWORD})
    assert await refusal(sign_up) == (422, "signup_disabled")
    assert await refusal(client.auth.sign_in_with_otp({"email": email})) == (422, "signup_disabled")
    without = client.auth.sign_in_with_otp(
        {"email": email, "options": {"should_create_user": False}}
    )
    assert await refusal(without) == (422, "otp_disabled")
    with pytest.raises(AssertionError, match="no mail"):
        await last_mail(closed, email)


async def test_known_people_sign_in_while_sign_up_is_closed(closed: str, connect: Connect) -> None:
    client, email = connect(closed), new_email()
    await connect(closed, SECRET).auth.admin.create_user(
        {"email": email, "password": PASSWORD, "email_confirm": True}
    )
    assert (await sign_in(client, email)).user
    taken = client.auth.sign_up({"email": email, "password": PASSWORD})
    assert await refusal(taken) == (422, "signup_disabled")
    await client.auth.sign_in_with_otp({"email": email})
    code = (await last_mail(closed, email))["code"]
    response = await client.auth.verify_otp({"email": email, "token": code, "type": "email"})
    assert response.session


async def test_invitation_works_while_sign_up_is_closed(closed: str, connect: Connect) -> None:
    client, email = connect(closed), new_email()
    await connect(closed, SECRET).auth.admin.invite_user_by_email(email)
    mail = await last_mail(closed, email)
    accepted = await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "invite"})
    assert session_of(accepted).user.email == email
    await client.auth.update_user({"password": PASSWORD})
    assert (await sign_in(connect(closed), email)).user


# Past a captcha


class Vendor:
    """A captcha vendor's siteverify: knows one secret and one answer, and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, str]], bytes] = self.verdict
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                vendor.asked.append(form)
                content = vendor.answer(form)
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Not to the tests' output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/siteverify"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @staticmethod
    def verdict(form: dict[str, str]) -> bytes:
        if form["secret"] != CAPTCHA_SECRET:
            return b'{"success": false, "error-codes": ["invalid-input-secret"]}'
        success = form["response"] == PASSED
        codes = [] if success else ["invalid-input-response"]
        return json.dumps({"success": success, "error-codes": codes}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def _vendor() -> Iterator[Vendor]:
    vendor = Vendor()
    yield vendor
    vendor.close()


@pytest.fixture
def vendor(_vendor: Vendor) -> Iterator[Vendor]:
    _vendor.asked.clear()
    yield _vendor
    _vendor.answer = _vendor.verdict


def captcha(url: str, **more: str) -> dict[str, str]:
    return {
        "AUTH_CAPTCHA_PROVIDER": "turnstile",
        "AUTH_CAPTCHA_SECRET": CAPTCHA_SECRET,
        "AUTH_CAPTCHA_VERIFY_URL": url,
        **more,
    }


@pytest.fixture(scope="module")
def guarded(auth_database_url: str, auth_log: Path, _vendor: Vendor) -> Iterator[str]:
    variables = variables_for(auth_database_url, **CAREFUL, **captcha(_vendor.url))
    with serving(variables, auth_log):
        yield variables["AUTH_PUBLIC_URL"]


def body(email: str, token: str | None) -> dict[str, Any]:
    return {
        "email": email,
        "password": PASSWORD,
        "type": "signup",
        "gotrue_meta_security": {"captcha_token": token},
    }


GUARDED = ("/signup", "/token?grant_type=password", "/otp", "/recover", "/resend", "/magiclink")


async def test_captcha_is_asked_for_wherever_accounts_are_guessed_or_mailed(
    guarded: str, vendor: Vendor
) -> None:
    base, headers = f"{guarded}/auth/v1", {"apikey": PUBLISHABLE, **VERSION}
    async with httpx.AsyncClient(base_url=base, headers=headers) as http:
        for path in GUARDED:
            for token in (None, "", "  ", "wrong"):
                refused = await http.post(path, json=body(new_email(), token))
                assert (refused.status_code, refused.json()["code"]) == (400, "captcha_failed")
                why = "invalid-input-response" if token == "wrong" else "no captcha_token found"
                assert why in refused.json()["message"]
            without = await http.post(path, json={"email": new_email(), "password": PASSWORD})
            assert without.json()["code"] == "captcha_failed"
            passed = await http.post(path, json=body(new_email(), PASSED))
            assert passed.is_success or passed.json()["code"] == "invalid_credentials"
    asked = [{**form, "remoteip": bool(form["remoteip"])} for form in vendor.asked]
    assert asked == [
        {"secret": CAPTCHA_SECRET, "response": response, "remoteip": True}
        for _ in GUARDED
        for response in ("wrong", PASSED)
    ]


async def test_client_that_solves_the_captcha_signs_up_and_in(
    guarded: str, connect: Connect, vendor: Vendor
) -> None:
    client, email = connect(guarded), new_email()
    solved: Any = {
        "email": email,
        "password": PASSWORD,
        "options": {"captcha_token": PASSED},
    }
    await client.auth.sign_up(solved)
    mail = await last_mail(guarded, email)
    assert (
        await client.auth.verify_otp({"token_hash": mail["token_hash"], "type": "signup"})
    ).session
    signed_in = await client.auth.sign_in_with_password(solved)
    await client.auth.reset_password_for_email(email, {"captcha_token": PASSED})
    assert await refusal(client.auth.reset_password_for_email(email)) == (400, "captcha_failed")
    # Who has a session or the secret key has shown who they are.
    vendor.asked.clear()
    assert await client.auth.refresh_session(session_of(signed_in).refresh_token)
    assert await connect(guarded, SECRET).auth.sign_up({"email": new_email(), "password": PASSWORD})
    assert vendor.asked == []


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null"])
async def test_senseless_vendor_lets_nobody_through(
    guarded: str, connect: Connect, vendor: Vendor, content: bytes
) -> None:
    vendor.answer = lambda _: content
    pending = connect(guarded).auth.sign_up(
        {"email": new_email(), "password": PASSWORD, "options": {"captcha_token": PASSED}}
    )
    assert await refusal(pending) == (500, "unexpected_failure")


@pytest.mark.parametrize("content", [b'{"success": "true"}', b'{"success": 1}', b"{}"])
async def test_vendors_yes_has_to_be_a_yes(
    guarded: str, connect: Connect, vendor: Vendor, content: bytes
) -> None:
    vendor.answer = lambda _: content
    pending = sign_in_solved(connect(guarded))
    assert await refusal(pending) == (400, "captcha_failed")


def sign_in_solved(client: Any) -> Any:
    return client.auth.sign_in_with_password(
        {"email": new_email(), "password": PASSWORD, "options": {"captcha_token": PASSED}}
    )


async def test_vendor_that_is_away_lets_nobody_through(
    auth_database_url: str, connect: Connect, tmp_path: Path
) -> None:
    nowhere = captcha(
        f"http://127.0.0.1:{free_port()}/siteverify", AUTH_CAPTCHA_PROVIDER="hcaptcha"
    )
    variables = variables_for(auth_database_url, **nowhere)
    with serving(variables, tmp_path / "log"):
        pending = sign_in_solved(connect(variables["AUTH_PUBLIC_URL"]))
        assert await refusal(pending) == (500, "unexpected_failure")
    assert CAPTCHA_SECRET not in (tmp_path / "log").read_text()
