"""Links by mail: asked for, redeemed by a click, and silent about who has an account."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator

import httpx
import pytest

from aisaas.accounts import identity
from aisaas.errors import DependencyError
from aisaas.wiring import services
from devstack.stack import Stack
from tests.accounts.browsing import another, asked, cookies, send, signed_in, signed_up, user_of
from tests.accounts.conftest import PASSWORD, Install, Sql, new_email
from tests.parts import Mailbox, outage

MAILS = ["magic-link", "reset", "resend"]
NEW_PASSWORD = "quite another password"


@pytest.fixture
def mailbox(spare_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(spare_stack)
    yield box
    box.close()


@pytest.fixture
def confirming_mailbox(confirming_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(confirming_stack)
    yield box
    box.close()


# Reset


async def test_reset_link_lets_choose_a_password_and_ends_all_other_sessions(
    browser: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    email = await signed_up(browser)
    async with another(browser) as elsewhere:
        answer = await send(elsewhere, "session/reset", email=email)
        assert answer.status_code == 200
        assert set(answer.json()) == {"message"}
        link = await mailbox.token(email, "recovery")
        confirmed = await send(elsewhere, "session/confirm", token_hash=link, type="recovery")
        assert confirmed.json()["redirect"] == "/reset?choose=1"
        chosen = await send(elsewhere, "account/password", new_password=NEW_PASSWORD)
        assert chosen.status_code == 200, chosen.text
        assert await user_of(elsewhere)
        # Once only: the next change needs the password again.
        again = await send(elsewhere, "account/password", new_password="yet another password")
        assert again.json()["code"] == "current_password_wrong"
    refused = await send(browser, "account/picture/remove")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    async with another(browser) as third:
        assert not await signed_in(third, email)
        assert await signed_in(third, email, NEW_PASSWORD)


async def test_recovery_counts_for_a_quarter_of_an_hour_only(
    browser: httpx.AsyncClient, mailbox: Mailbox, sql: Sql
) -> None:
    email = await signed_up(browser)
    await send(browser, "session/reset", email=email)
    link = await mailbox.token(email, "recovery")
    await send(browser, "session/confirm", token_hash=link, type="recovery")
    assert (await services().accounts.principal(cookies(browser))).recovered
    sql(
        "update private.sessions set recovered_until = recovered_until - interval '15 min'"
        " where user_id = %s",
        await user_of(browser),
    )
    answer = await send(browser, "account/password", new_password=NEW_PASSWORD)
    assert (answer.status_code, answer.json()["code"]) == (400, "current_password_wrong")


async def test_link_works_once_and_rubbish_never(
    browser: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    email = await signed_up(browser)
    await send(browser, "session/reset", email=email)
    link = await mailbox.token(email, "recovery")
    async with another(browser) as elsewhere:
        for form in (
            {"token_hash": link, "type": "nonsense"},
            {"token_hash": "", "type": "recovery"},
            {"type": "recovery"},
        ):
            answer = await send(elsewhere, "session/confirm", **form)
            assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        made_up = await send(elsewhere, "session/confirm", token_hash="x", type="recovery")
        assert made_up.json()["code"] == "otp_expired"
        assert not elsewhere.cookies
        once = await send(elsewhere, "session/confirm", token_hash=link, type="recovery")
        assert once.status_code == 200
        twice = await send(elsewhere, "session/confirm", token_hash=link, type="recovery")
        assert (twice.status_code, twice.json()["code"]) == (400, "otp_expired")


async def test_link_that_is_only_looked_at_is_not_used_up(
    browser: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    email = await signed_up(browser)
    await send(browser, "session/reset", email=email)
    link = await mailbox.token(email, "recovery")
    looked = await browser.get("/api/session/confirm", params={"token_hash": link})
    assert looked.status_code == 405
    assert (
        await send(browser, "session/confirm", token_hash=link, type="recovery")
    ).status_code == 200


# Sign-in link, confirmation


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/chat/5b1c?a=b", "/chat/5b1c?a=b"),
        ("http://127.0.0.1:3000/dashboard", "/dashboard"),
        ("http://127.0.0.1:3000", "/"),
        ("https://evil.example/chat", "/chat"),
        ("http://127.0.0.1:3000.evil.example/x", "/chat"),
        ("http://127.0.0.1:3000//evil.example", "/chat"),
        ("http://127.0.0.1:3000@evil.example/", "/chat"),
        ("//evil.example", "/chat"),
        ("javascript:alert(1)", "/chat"),
        ("", "/chat"),
    ],
)
async def test_sign_in_link_leads_to_where_the_visitor_was_going_and_never_off_the_site(
    browser: httpx.AsyncClient, mailbox: Mailbox, target: str, expected: str
) -> None:
    email = await signed_up(browser)
    async with another(browser) as elsewhere:
        await send(elsewhere, "session/magic-link", email=email, redirectTo=target)
        link = await mailbox.token(email, "magiclink")
        answer = await send(
            elsewhere, "session/confirm", token_hash=link, type="magiclink", redirectTo=target
        )
        assert answer.json()["redirect"] == expected
        assert await user_of(elsewhere) == await user_of(browser)


async def test_sign_in_link_works_without_scripts(
    browser: httpx.AsyncClient, mailbox: Mailbox
) -> None:
    email = await signed_up(browser)
    sent = await browser.post("/api/session/magic-link", data={"email": email})
    assert asked(sent) == {"": "/login", "notice": "link_sent"}
    form = {"token_hash": await mailbox.token(email, "magiclink"), "type": "magiclink"}
    done = await browser.post("/api/session/confirm", data=form | {"redirectTo": "/dashboard"})
    assert asked(done) == {"": "/dashboard"}
    again = await browser.post("/api/session/confirm", data=form)
    assert asked(again) == {"": "/confirm", "error": "otp_expired"}


async def test_sign_up_is_confirmed_by_the_link_and_the_first_becomes_admin(
    install: Install, confirming_stack: Stack, confirming_mailbox: Mailbox
) -> None:
    async with install(**confirming_stack.env) as browser:
        email = new_email()
        form = {"email": email, "password": PASSWORD, "full_name": "Ada"}
        answer = await send(browser, "session/sign-up", **form)
        assert (answer.status_code, answer.json()["confirm"]) == (200, True)
        assert not browser.cookies
        early = await send(browser, "session/sign-in", email=email, password=PASSWORD)
        assert early.json()["code"] == "email_not_confirmed"
        link = await confirming_mailbox.token(email, "signup")
        confirmed = await send(browser, "session/confirm", token_hash=link, type="signup")
        assert confirmed.json() == {"redirect": "/chat", "admin": True}
        principal = await services().accounts.principal(cookies(browser))
        assert (principal.email, principal.is_admin, principal.recovered) == (email, True, False)


async def test_changed_address_is_confirmed_from_both_mailboxes(
    install: Install, confirming_stack: Stack, confirming_mailbox: Mailbox
) -> None:
    async with install(**confirming_stack.env) as browser:
        old, new = new_email(), new_email()
        await send(browser, "session/sign-up", email=old, password=PASSWORD)
        link = await confirming_mailbox.token(old, "signup")
        await send(browser, "session/confirm", token_hash=link, type="signup")
        answer = await send(browser, "account/address", email=new, current_password=PASSWORD)
        assert answer.json()["confirm"] is True
        assert (await services().accounts.principal(cookies(browser))).email == old
        link = await confirming_mailbox.token(new, "email_change")
        first = await send(browser, "session/confirm", token_hash=link, type="email_change")
        assert first.status_code == 200
        assert "other" in first.json()["message"]
        assert (await services().accounts.principal(cookies(browser))).email == old
        link = await confirming_mailbox.token(old, "email_change")
        done = await send(browser, "session/confirm", token_hash=link, type="email_change")
        assert done.json()["redirect"].startswith("/settings")
        assert (await services().accounts.principal(cookies(browser))).email == new


# Who may sign up


@pytest.mark.parametrize("mode", ["invitation", "closed"])
async def test_nobody_signs_up_where_sign_up_is_not_open(
    install: Install, mailbox: Mailbox, sql: Sql, mode: str
) -> None:
    async with install(SIGN_UP_MODE=mode) as browser:
        email = new_email()
        answer = await send(browser, "session/sign-up", email=email, password=PASSWORD)
        assert (answer.status_code, answer.json()["code"]) == (403, "signup_disabled")
        link = await send(browser, "session/magic-link", email=email)
        assert link.status_code == 200
        await services().accounts.close()
        assert mailbox.to(email) == []
        assert sql("select 1 from auth.users where email = %s", email) == []
        plain = await browser.post(
            "/api/session/sign-up", data={"email": email, "password": PASSWORD}
        )
        assert asked(plain)["error"] == "signup_disabled"


async def test_invited_user_comes_in_and_chooses_a_password(
    install: Install, mailbox: Mailbox
) -> None:
    async with install(SIGN_UP_MODE="invitation") as browser:
        email = new_email()
        await services().accounts.invite(email, redirect_to="http://127.0.0.1:3000/reset")
        link = await mailbox.token(email, "invite")
        answer = await send(browser, "session/confirm", token_hash=link, type="invite")
        assert answer.json()["redirect"] == "/reset?choose=1"
        chosen = await send(browser, "account/password", new_password=NEW_PASSWORD)
        assert chosen.status_code == 200
        async with another(browser) as elsewhere:
            assert await signed_in(elsewhere, email, NEW_PASSWORD)


# Silence


@pytest.mark.parametrize("path", MAILS)
async def test_known_unknown_and_flooded_address_get_the_same_answer_after_the_same_time(
    install: Install, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(identity, "FLOOR_SECONDS", 0.4)
    async with install(MAILS_PER_ACCOUNT="2") as browser:
        email = await signed_up(browser)
        answers: set[tuple[int, str]] = set()
        times: list[float] = []
        for to in (email, new_email(), email, email, email):
            begun = time.monotonic()
            answer = await send(browser, f"session/{path}", email=to)
            times.append(time.monotonic() - begun)
            answers.add((answer.status_code, answer.text))
        assert len(answers) == 1
        assert answers.pop()[0] == 200
        # That no work makes it longer is the next test but one.
        assert min(times) >= 0.4
        await services().accounts.close()
        assert len(mailbox.to(email)) <= 2


async def test_taken_and_free_address_sign_up_alike_where_addresses_are_confirmed(
    install: Install, confirming_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "FLOOR_SECONDS", 1.0)
    async with install(**confirming_stack.env) as browser:
        taken = new_email()
        answers: set[tuple[int, str]] = set()
        # The third time it waits for its confirmation, and a mail was sent a moment ago.
        for email in (taken, new_email(), taken):
            begun = time.monotonic()
            answer = await send(browser, "session/sign-up", email=email, password=PASSWORD)
            assert time.monotonic() - begun >= 1.0
            answers.add((answer.status_code, answer.text))
        assert len(answers) == 1


async def test_mail_that_takes_long_is_answered_at_its_time_and_its_failure_logged(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    let_go = asyncio.Event()

    async def slow(*_: object, **__: object) -> None:
        await let_go.wait()
        raise DependencyError("auth")

    monkeypatch.setattr(services().accounts._identity, "mail_reset", slow)  # pyright: ignore[reportPrivateUsage]
    answer = await send(browser, "session/reset", email=new_email())
    assert answer.status_code == 200
    with caplog.at_level(logging.WARNING, logger=identity.__name__):
        let_go.set()
        await services().accounts.close()
    assert "auth" in caplog.text


@pytest.mark.parametrize("path", MAILS)
async def test_auth_server_that_is_away_is_reported(
    browser: httpx.AsyncClient, spare_stack: Stack, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(identity, "FLOOR_SECONDS", 2.0)
    with outage(spare_stack, "auth", "stopped"):
        answer = await send(browser, f"session/{path}", email=new_email())
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
