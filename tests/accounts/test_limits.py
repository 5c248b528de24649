"""Guessing and flooding: the limits, per address and account, and the ones that hold without Redis."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from redis.asyncio import Redis
from starlette.requests import Request

from aisaas.adapters import redis_client
from aisaas.api.client_address import client_address
from aisaas.wiring import services
from devstack.stack import Stack
from tests.accounts.browsing import another, send, signed_in, signed_up
from tests.accounts.conftest import PASSWORD, Install, new_email
from tests.parts import outage

FEW = {"SIGN_IN_TRIES_PER_ACCOUNT": "3"}


async def _guess(browser: httpx.AsyncClient, email: str) -> str:
    answer = await send(browser, "session/sign-in", email=email, password="a guess")
    return answer.json()["code"]


async def test_guessing_one_account_ends_also_for_the_right_password(install: Install) -> None:
    async with install(**FEW) as browser:
        email = await signed_up(browser)
        guesses = [await _guess(browser, each) for each in (email, email.upper(), f"{email}")]
        assert guesses == ["invalid_credentials"] * 3
        answer = await send(browser, "session/sign-in", email=email, password=PASSWORD)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_tries")
        assert 0 < int(answer.headers["retry-after"]) <= 900
        # Its owner, elsewhere, gets in.
        async with another(browser, "203.0.113.7") as elsewhere:
            assert await signed_in(elsewhere, email)


async def test_guesses_at_once_don_t_pass_the_limit(install: Install) -> None:
    async with install(**FEW) as browser:
        email = await signed_up(browser)
        codes = await asyncio.gather(*(_guess(browser, email) for _ in range(12)))
        assert codes.count("invalid_credentials") == 3


async def test_guessing_from_many_addresses_ends_too(install: Install) -> None:
    async with install(SIGN_IN_TRIES_PER_ACCOUNT="1") as browser:
        email = await signed_up(browser)
        codes: list[str] = []
        for number in range(12):
            async with another(browser, f"203.0.113.{number}") as elsewhere:
                codes.append(await _guess(elsewhere, email))
        assert codes == ["invalid_credentials"] * 10 + ["too_many_tries"] * 2


async def test_guessing_at_many_accounts_from_one_address_ends(install: Install) -> None:
    async with install(SIGN_IN_TRIES_PER_ADDRESS="4") as browser:
        async with another(browser, "203.0.113.77") as guesser:
            codes = [await _guess(guesser, new_email()) for _ in range(6)]
        assert codes == ["invalid_credentials"] * 4 + ["too_many_tries"] * 2


async def test_unknown_account_is_limited_like_a_known_one(install: Install) -> None:
    async with install(**FEW) as browser:
        known, unknown = await signed_up(browser), new_email()
        assert [await _guess(browser, known) for _ in range(5)] == [
            await _guess(browser, unknown) for _ in range(5)
        ]


async def test_signing_in_often_is_no_guessing(install: Install) -> None:
    async with install(**FEW) as browser:
        email = await signed_up(browser)
        assert [await signed_in(browser, email) for _ in range(6)] == [True] * 6


async def test_current_password_counts_like_a_sign_in(install: Install) -> None:
    async with install(**FEW) as browser:
        email = await signed_up(browser)
        form = {"current_password": "a guess", "new_password": "quite another password"}
        codes = [(await send(browser, "account/password", **form)).json()["code"] for _ in range(2)]
        form = {"current_password": "a guess", "email": new_email()}
        codes.append((await send(browser, "account/address", **form)).json()["code"])
        assert codes == ["current_password_wrong"] * 3
        assert await _guess(browser, email) == "too_many_tries"


async def test_sign_ups_from_one_address_end(install: Install) -> None:
    async with (
        install(SIGN_UPS_PER_ADDRESS="2") as browser,
        another(browser, "203.0.113.99") as flooder,
    ):
        await signed_up(flooder)
        await signed_up(flooder)
        form = {"email": new_email(), "password": PASSWORD}
        answer = await send(flooder, "session/sign-up", **form)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_tries")


async def test_mails_asked_for_from_one_address_end(install: Install) -> None:
    async with install(MAILS_PER_ADDRESS="3") as browser:
        async with another(browser, "2001:db8:1:2::1") as flooder:
            for path in ("magic-link", "reset", "resend"):
                answer = await send(flooder, f"session/{path}", email=new_email())
                assert answer.status_code == 200
        # The same customer's other machine.
        async with another(browser, "2001:db8:1:2:ffff::9") as flooder:
            answer = await send(flooder, "session/reset", email=new_email())
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_tries")


async def test_redis_knows_nobody(install: Install, spare_stack: Stack) -> None:
    async with install() as browser:
        email = new_email()
        async with another(browser, "203.0.113.42") as guesser:
            await _guess(guesser, email)
            await send(guesser, "session/reset", email=email)
        await services().accounts.close()
        probe = Redis.from_url(spare_stack.env["REDIS_URL"])
        keys = [key.decode() async for key in probe.scan_iter("*attempts*")]
        kept = [str(await probe.zrange(key, 0, -1)) for key in keys]
        await probe.aclose()
        assert keys
        for text in (*keys, *kept):
            assert email.split("@")[0] not in text
            assert "203.0.113.42" not in text


@pytest.mark.parametrize("path", ["sign-in", "sign-up", "magic-link", "reset", "resend"])
async def test_without_redis_nothing_can_be_tried(
    install: Install, spare_stack: Stack, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async with install() as browser:
        email = await signed_up(browser)
        monkeypatch.setattr(redis_client, "COMMAND_SECONDS", 0.25)
        with outage(spare_stack, "valkey", "stopped"):
            answer = await send(browser, f"session/{path}", email=email, password=PASSWORD)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            form = {"current_password": PASSWORD, "new_password": "quite another password"}
            change = await send(browser, "account/password", **form)
            assert change.json()["code"] == "unavailable"
            # Signing out always works.
            out = await send(browser, "session/sign-out")
            assert out.status_code == 200


# Whose address it is


def _request(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    client = (peer, 5000) if peer is not None else None
    return Request({"type": "http", "headers": headers, "client": client})


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "expected"),
    [
        ("203.0.113.7", (), 0, "203.0.113.7"),
        # What a client writes itself is not looked at.
        ("203.0.113.7", ("198.51.100.1",), 0, "203.0.113.7"),
        ("10.0.0.1", ("198.51.100.1",), 1, "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4, 198.51.100.1",), 1, "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4", "198.51.100.1"), 1, "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4, 198.51.100.1, 10.0.0.2",), 2, "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4, 198.51.100.1,, 10.0.0.2 ",), 2, "198.51.100.1"),
        # It came past the outer proxy.
        ("203.0.113.7", ("1.2.3.4",), 2, "203.0.113.7"),
        ("203.0.113.7", (), 1, "203.0.113.7"),
        ("10.0.0.1", ("198.51.100.1:4711",), 1, "198.51.100.1"),
        ("10.0.0.1", ("[2001:db8:1:2:3:4:5:6]:4711",), 1, "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", (), 0, "2001:db8:1:2::/64"),
        ("fe80::1%eth0", (), 0, "fe80::/64"),
        ("::ffff:203.0.113.7", (), 0, "203.0.113.7"),
        ("10.0.0.1", ("rubbish",), 1, "unknown"),
        ("10.0.0.1", ("'; drop table",), 1, "unknown"),
        (None, (), 0, "unknown"),
    ],
)
def test_address_is_the_one_that_nobody_could_make_up(
    peer: str | None, forwarded: tuple[str, ...], proxies: int, expected: str
) -> None:
    assert client_address(_request(peer, *forwarded), proxies) == expected


async def test_made_up_forwarding_gets_no_further_tries(install: Install) -> None:
    async with install(SIGN_IN_TRIES_PER_ADDRESS="3", TRUSTED_PROXIES="1") as browser:
        codes: list[str] = []
        async with another(browser, "10.0.0.1") as proxy:
            for number in range(5):
                headers = {"x-forwarded-for": f"1.2.3.{number}, 203.0.113.55"}
                answer = await proxy.post(
                    "/api/session/sign-in",
                    data={"email": new_email(), "password": "a guess"},
                    headers=headers | {"accept": "application/json"},
                )
                codes.append(answer.json()["code"])
        assert codes == ["invalid_credentials"] * 3 + ["too_many_tries"] * 2
