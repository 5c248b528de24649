"""Where a visitor may be sent."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette

from aisaas.api import moved, paths
from aisaas.ui import routes


@pytest.mark.parametrize(
    "path", ["/chat", "/chat/5b1c", "/dashboard?month=5", "/settings#name", "/a/b-c_d.e~f"]
)
def test_own_paths_are_returned_to(path: str) -> None:
    assert routes.own_path(path) == path


@pytest.mark.parametrize(
    "target",
    [
        "",
        "chat",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "https://evil.example",
        "javascript:alert(1)",
        "/%2F/evil.example",
        "/%5Cevil.example",
        "/%252Fevil.example",
        "/chat\nSet-Cookie: a=b",
        "/chat\x00",
        " /chat",
        "/" + "a" * 600,
        None,
        7,
        ["/chat"],
    ],
)
def test_anything_else_becomes_the_default(target: object) -> None:
    assert routes.own_path(target) == routes.CHAT


@pytest.mark.parametrize("page", ["/login", "/signup", "/login?redirectTo=/chat", "/login/"])
def test_nobody_is_sent_from_sign_in_to_sign_in(page: str) -> None:
    assert routes.own_path(page) == routes.CHAT


def test_sign_in_comes_back() -> None:
    assert routes.login_for("/chat/5b1c") == "/login?redirectTo=/chat/5b1c"
    assert routes.login_for("/chat?a=b&c=d") == "/login?redirectTo=/chat%3Fa%3Db%26c%3Dd"
    assert routes.login_for("//evil.example") == "/login?redirectTo=/chat"


def test_a_chat_address_names_its_conversation() -> None:
    assert routes.conversation_in("/chat") == ""
    assert routes.conversation_in("/chat/") == ""
    assert routes.conversation_in(routes.conversation("5b1c")) == "5b1c"


@pytest.mark.parametrize(
    ("path", "protected"),
    [
        ("/settings", True),
        ("/chat/5b1c", True),
        ("/reset", False),
        ("/confirm", False),
        ("/", False),
    ],
)
def test_settings_are_for_who_is_signed_in_and_mail_links_for_everybody(
    path: str, protected: bool
) -> None:
    assert paths.is_protected(path) is protected
    assert not paths.is_auth_page(path)


async def test_former_addresses_lead_to_their_pages() -> None:
    transport = httpx.ASGITransport(Starlette(routes=moved.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        answer = await browser.get("/admin/steering")
    assert (answer.status_code, answer.headers["location"]) == (308, routes.ADMIN_CONTROLS)
    assert set(moved.MOVED.values()) <= set(routes.PAGES)
