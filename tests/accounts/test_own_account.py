"""What users change about their account: password, address, name, sessions, picture."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncGenerator, Callable
from uuid import UUID, uuid4

import httpx
import pytest

from aisaas.accounts.devices import label
from aisaas.accounts.pictures import MAX_BYTES, recognise
from aisaas.errors import AuthError, NameInvalid, NotFound, Unauthenticated, Unavailable
from aisaas.wiring import Services, services
from devstack.stack import Stack
from tests.accounts.browsing import (
    JSON,
    another,
    asked,
    cookies,
    send,
    signed_in,
    signed_up,
    user_of,
)
from tests.accounts.conftest import PASSWORD, Member, Sql, ask, new_email, sign_up
from tests.parts import outage

NEW_PASSWORD = "quite another password"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


# Password and address


async def test_new_password_ends_all_other_sessions_and_keeps_this_one(
    browser: httpx.AsyncClient, sql: Sql
) -> None:
    email = await signed_up(browser)
    async with another(browser) as elsewhere:
        assert await signed_in(elsewhere, email)
        form = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        answer = await send(browser, "account/password", **form)
        assert answer.status_code == 200, answer.text
        with pytest.raises(Unauthenticated):
            await user_of(elsewhere)
        user_id = await user_of(browser)
        # At the auth server as well: neither the other one nor the check's own is left.
        assert sql("select count(*) from auth.sessions where user_id = %s", user_id) == [(1,)]
        assert not await signed_in(elsewhere, email)
        assert await signed_in(elsewhere, email, NEW_PASSWORD)


@pytest.mark.parametrize("current", ["", "not the password"])
async def test_password_is_not_changed_without_the_current_one(
    browser: httpx.AsyncClient, current: str
) -> None:
    email = await signed_up(browser)
    form = {"current_password": current, "new_password": NEW_PASSWORD}
    answer = await send(browser, "account/password", **form)
    assert (answer.status_code, answer.json()["code"]) == (400, "current_password_wrong")
    async with another(browser) as elsewhere:
        assert await signed_in(elsewhere, email)
        assert not await signed_in(elsewhere, email, NEW_PASSWORD)


async def test_every_wrong_field_is_reported(browser: httpx.AsyncClient) -> None:
    await signed_up(browser)
    answer = await send(browser, "account/address", email="ada", current_password="")
    assert answer.status_code == 422
    assert set(answer.json()["fields"]) == {"email", "current_password"}
    short = await send(browser, "account/password", current_password=PASSWORD, new_password="x")
    assert short.json()["code"] == "weak_password"
    same = {"current_password": PASSWORD, "new_password": PASSWORD}
    assert (await send(browser, "account/password", **same)).json()["code"] == "same_password"


async def test_address_changes_with_the_password_and_the_profile_follows(
    browser: httpx.AsyncClient,
) -> None:
    email, new = await signed_up(browser), new_email()
    wrong = await send(browser, "account/address", email=new, current_password="a guess")
    assert wrong.json()["code"] == "current_password_wrong"
    answer = await send(browser, "account/address", email=new, current_password=PASSWORD)
    assert (answer.status_code, answer.json()["confirm"]) == (200, False)
    assert (await services().accounts.principal(cookies(browser))).email == new
    async with another(browser) as elsewhere:
        assert await signed_in(elsewhere, new)
        assert not await signed_in(elsewhere, email)


async def test_forms_work_without_scripts(browser: httpx.AsyncClient) -> None:
    await signed_up(browser)
    form = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    done = await browser.post("/api/account/password", data=form)
    assert asked(done) == {"": "/settings", "notice": "password_changed"}
    refused = await browser.post("/api/account/password", data=form)
    assert asked(refused) == {"": "/settings", "error": "current_password_wrong"}
    browser.cookies.clear()
    out = await browser.post("/api/account/password", data=form)
    assert asked(out) == {"": "/login", "error": "unauthenticated", "redirectTo": "/settings"}


@pytest.mark.parametrize("path", ["password", "address", "picture", "picture/remove"])
async def test_nothing_changes_for_someone_who_is_not_signed_in(
    browser: httpx.AsyncClient, path: str
) -> None:
    form = {
        "current_password": PASSWORD,
        "new_password": NEW_PASSWORD,
        "email": new_email(),
    }
    answer = await send(browser, f"account/{path}", **form)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


# Name


async def test_name_is_changed_under_the_users_own_identity(
    services: Services, ada: Member
) -> None:
    principal = await ask(services, ada)
    assert await services.accounts.rename(principal, "  Countess   of\tLovelace ") == (
        "Countess of Lovelace"
    )
    assert (await ask(services, ada)).full_name == "Countess of Lovelace"
    for name in ("x" * 121, "bell\x07", "\ud800"):
        with pytest.raises(NameInvalid):
            await services.accounts.rename(principal, name)
    assert (await ask(services, ada)).full_name == "Countess of Lovelace"


async def test_name_while_the_database_is_away(
    services: Services, ada: Member, spare_stack: Stack
) -> None:
    principal = await ask(services, ada)
    with outage(spare_stack, "postgres", "stopped"), pytest.raises(Unavailable):
        await services.accounts.rename(principal, "Ada")


# Sessions


async def _sign_in(services: Services, member: Member, user_agent: str = "tests") -> str:
    result = await services.accounts.sign_in(member.email, PASSWORD, user_agent=user_agent)
    return f"{services.cookie}={result.token}"


async def test_own_sessions_are_listed_in_plain_words(services: Services, ada: Member) -> None:
    other = await _sign_in(services, ada, FIREFOX)
    await sign_up(services)
    listed = await services.accounts.sessions(await services.accounts.principal(other))
    assert {(each.device, each.opened_by, each.current) for each in listed} == {
        ("Firefox on Linux", "password", True),
        ("Unknown device", "sign_up", False),
    }
    assert all(each.created_at <= each.last_seen_at for each in listed)


async def test_last_use_is_noted_when_it_is_a_minute_old(
    services: Services, ada: Member, sql: Sql
) -> None:
    def seen() -> object:
        ((ago,),) = sql(
            "select extract(epoch from now() - last_seen_at)::int from private.sessions"
            " where user_id = %s",
            ada.user_id,
        )
        return ago

    for seconds, expected in ((40, 40), (70, 0)):
        sql(
            "update private.sessions set last_seen_at = now() - make_interval(secs => %s)"
            " where user_id = %s",
            seconds,
            ada.user_id,
        )
        await ask(services, ada)
        assert abs(int(str(seen())) - expected) < 10


async def test_one_session_is_ended_here_and_at_the_auth_server(
    services: Services, ada: Member, sql: Sql
) -> None:
    other = await _sign_in(services, ada)
    ended = (await services.accounts.principal(other)).session_id
    await services.accounts.end_session(ada.cookie, ended)
    with pytest.raises(Unauthenticated):
        await services.accounts.principal(other)
    assert (await ask(services, ada)).user_id == ada.user_id
    assert sql("select count(*) from auth.sessions where user_id = %s", ada.user_id) == [(1,)]
    with pytest.raises(NotFound):
        await services.accounts.end_session(ada.cookie, ended)


async def test_nobody_ends_the_session_of_someone_else(services: Services, ada: Member) -> None:
    eve = await sign_up(services)
    theirs = (await ask(services, ada)).session_id
    for session_id in (theirs, uuid4()):
        with pytest.raises(NotFound):
            await services.accounts.end_session(eve.cookie, session_id)
    assert (await ask(services, ada)).user_id == ada.user_id


async def test_all_others_or_all_are_ended(services: Services, ada: Member, sql: Sql) -> None:
    others = [await _sign_in(services, ada) for _ in range(2)]
    eve = await sign_up(services)
    await services.accounts.sign_out(ada.cookie, "others")
    for cookie in others:
        with pytest.raises(Unauthenticated):
            await services.accounts.principal(cookie)
    assert (await ask(services, ada)).user_id == ada.user_id
    assert sql("select count(*) from auth.sessions where user_id = %s", ada.user_id) == [(1,)]
    again = await _sign_in(services, ada)
    await services.accounts.sign_out(again, "everywhere")
    for cookie in (again, ada.cookie):
        with pytest.raises(Unauthenticated):
            await services.accounts.principal(cookie)
    assert sql("select count(*) from auth.sessions where user_id = %s", ada.user_id) == [(0,)]
    assert (await ask(services, eve)).user_id == eve.user_id
    with pytest.raises(Unauthenticated):
        await services.accounts.sign_out(again, "others")


async def test_session_with_an_old_access_token_is_ended_at_the_auth_server_too(
    services: Services, ada: Member, sql: Sql
) -> None:
    sql(
        "update private.sessions set access_expires_at = now() - interval '1 h' where user_id = %s",
        ada.user_id,
    )
    await services.accounts.sign_out(ada.cookie)
    assert sql("select count(*) from auth.sessions where user_id = %s", ada.user_id) == [(0,)]


@pytest.mark.parametrize("scope", ["others", "everywhere", "one"])
async def test_ours_are_ended_also_while_the_auth_server_is_away(
    services: Services, ada: Member, sql: Sql, spare_stack: Stack, scope: str
) -> None:
    other = await _sign_in(services, ada)
    ended = (await services.accounts.principal(other)).session_id
    # Too long ago for anything else to be allowed.
    sql(
        "update private.sessions set verified_at = now() - interval '5 min' where user_id = %s",
        ada.user_id,
    )
    with outage(spare_stack, "auth", "stopped"):
        match scope:
            case "one":
                await services.accounts.end_session(ada.cookie, ended)
            case "others":
                await services.accounts.sign_out(ada.cookie, "others")
            case _:
                await services.accounts.sign_out(ada.cookie, "everywhere")
        with pytest.raises(Unauthenticated):
            await services.accounts.principal(other)


async def test_sign_outs_over_http(browser: httpx.AsyncClient) -> None:
    email = await signed_up(browser)
    async with another(browser) as elsewhere:
        await signed_in(elsewhere, email)
        answer = await send(browser, "session/sign-out", scope="others")
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
        with pytest.raises(Unauthenticated):
            await user_of(elsewhere)
        await signed_in(elsewhere, email)
        principal = await services().accounts.principal(cookies(elsewhere))
        answer = await send(browser, "session/end", session=str(principal.session_id))
        assert answer.status_code == 200
        again = await send(browser, "session/end", session=str(principal.session_id))
        assert (again.status_code, again.json()["code"]) == (404, "not_found")
        rubbish = await send(browser, "session/end", session="mine")
        assert rubbish.status_code == 422
        plain = await browser.post("/api/session/sign-out", data={"scope": "everywhere"})
        assert asked(plain) == {"": "/"}
        assert not browser.cookies


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/140.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
            " (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"
            " (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
            "Safari on Mac",
        ),
        ("curl/8.5.0", "curl"),
        ("<script>alert(1)</script>", "Unknown device"),
        ("", "Unknown device"),
    ],
)
def test_device_is_named_in_plain_words(user_agent: str, expected: str) -> None:
    assert label(user_agent) == expected


# Pictures


def _png(width: int = 2, height: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\x00" * (height * (3 * width + 1))))
        + chunk(b"IEND", b"")
    )


def _jpeg(width: int = 2, height: int = 2) -> bytes:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        + frame
        + b"\xff\xd9"
    )


def _webp(kind: bytes, data: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data.ljust(18, b"\x00")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _vp8(width: int, height: int) -> bytes:
    return _webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))


def _vp8l(width: int, height: int) -> bytes:
    return _webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | (height - 1) << 14))


def _vp8x(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _webp(b"VP8X", b"\x00\x00\x00\x00" + sides)


MAKERS = {
    "image/png": [_png],
    "image/jpeg": [_jpeg],
    "image/webp": [_vp8, _vp8l, _vp8x],
}
EACH = [(kind, make) for kind, makers in MAKERS.items() for make in makers]


@pytest.mark.parametrize(("kind", "make"), EACH)
def test_kind_and_size_of_a_picture_are_read_from_its_content(
    kind: str, make: Callable[[int, int], bytes]
) -> None:
    assert recognise(make(1024, 3)).content_type == kind
    for width, height in ((1025, 3), (3, 1025)):
        with pytest.raises(AuthError):
            recognise(make(width, height))


@pytest.mark.parametrize(("kind", "make"), EACH)
def test_cut_picture_is_refused_or_a_picture_still_and_never_an_error(
    kind: str, make: Callable[[int, int], bytes]
) -> None:
    content = make(5, 7)
    read = [_kind_of(content[:length]) for length in range(len(content))]
    assert set(read) <= {kind, "picture_invalid"}
    assert read[0] == "picture_invalid"


def _kind_of(content: bytes) -> str:
    try:
        return recognise(content).content_type
    except AuthError as error:
        return error.code


NO_PICTURES = [
    b"",
    b"<html><script>alert(1)</script></html>",
    b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    b"GIF89a\x02\x00\x02\x00\x00\x00\x00;",
    b"%PDF-1.7",
    b"\x89PNG\r\n\x1a\n<script>alert(1)</script>" + b"x" * 40,
    b"\xff\xd8\xff\xff\xff\xff",
    b"RIFF0000WEBP<script>" + b"x" * 40,
    _png(0, 1),
    _png(1025, 1),
    _png() + b"x" * MAX_BYTES,
]


async def _upload(browser: httpx.AsyncClient, content: bytes) -> httpx.Response:
    # Whatever name and type the browser gives it: neither is looked at.
    files = {"picture": ("picture.html", content, "text/html")}
    return await browser.post("/api/account/picture", files=files, headers=JSON)


@pytest.mark.parametrize("content", NO_PICTURES)
async def test_what_is_no_small_picture_is_refused(
    browser: httpx.AsyncClient, content: bytes
) -> None:
    await signed_up(browser)
    answer = await _upload(browser, content)
    assert answer.status_code in {400, 413}
    assert "picture" in answer.json()["message"]
    assert (await services().accounts.principal(cookies(browser))).avatar_url is None


async def test_picture_is_shown_to_its_owner_with_a_type_that_is_fixed(
    browser: httpx.AsyncClient,
) -> None:
    await signed_up(browser)
    where = (await _upload(browser, _png())).json()["picture"]
    principal = await services().accounts.principal(cookies(browser))
    assert principal.avatar_url == where
    assert where.startswith(f"/api/account/picture/{principal.user_id}?v=")
    shown = await browser.get(where)
    assert (shown.status_code, shown.content) == (200, _png())
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "sandbox" in shown.headers["content-security-policy"]
    # Another one takes its place, under another address.
    other = (await _upload(browser, _jpeg())).json()["picture"]
    assert other != where
    assert (await browser.get(other)).headers["content-type"] == "image/jpeg"
    removed = await send(browser, "account/picture/remove")
    assert removed.json() == {"picture": None}
    assert (await browser.get(other)).status_code == 404
    assert (await services().accounts.principal(cookies(browser))).avatar_url is None


async def test_picture_is_shown_to_nobody_else_but_an_admin(
    browser: httpx.AsyncClient, sql: Sql
) -> None:
    await signed_up(browser)
    where = (await _upload(browser, _png())).json()["picture"]
    async with another(browser) as eve:
        assert (await eve.get(where)).status_code == 401
        await signed_up(eve)
        assert (await eve.get(where)).status_code == 404
        sql("update profiles set role = 'admin' where id = %s", await user_of(eve))
        assert (await eve.get(where)).content == _png()
    assert (await browser.get("/api/account/picture/rubbish")).status_code == 404
    assert (await browser.get(f"/api/account/picture/{UUID(int=0)}")).status_code == 404


async def test_picture_of_a_foreign_form_or_of_unknown_size_is_not_taken(
    browser: httpx.AsyncClient,
) -> None:
    await signed_up(browser)
    foreign = await browser.post(
        "/api/account/picture",
        files={"picture": _png()},
        headers=JSON | {"origin": "https://evil.example"},
    )
    assert foreign.status_code == 403

    async def endless() -> AsyncGenerator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    request = browser.build_request(
        "POST",
        "/api/account/picture",
        content=endless(),
        headers=JSON | {"content-type": "multipart/form-data; boundary=x"},
    )
    answer = await browser.send(request)
    assert (answer.status_code, answer.json()["code"]) == (413, "form_refused")


@pytest.mark.parametrize("path", ["account/picture", "session/sign-in"])
async def test_body_that_is_longer_than_it_said_is_cut_off(
    browser: httpx.AsyncClient, path: str
) -> None:
    await signed_up(browser)
    sent = 0

    async def flood() -> AsyncGenerator[bytes]:
        nonlocal sent
        yield b'--x\r\ncontent-disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        while sent < 50_000_000:
            sent += 65536
            yield b"x" * 65536

    kind = (
        "multipart/form-data; boundary=x"
        if "picture" in path
        else "application/x-www-form-urlencoded"
    )
    answer = await browser.post(
        f"/api/{path}",
        content=flood(),
        headers=JSON | {"content-type": kind, "content-length": "1000"},
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "form_refused")
    assert sent < 1_000_000
