"""What every response forbids."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aisaas.api import security_headers
from aisaas.api.security_headers import (
    POLICY,
    SecurityHeaders,
    caching,
    headers,
    inline_scripts,
    policy,
)
from aisaas.settings import Settings


def directives(value: str) -> dict[str, list[str]]:
    parts = [directive.split() for directive in value.split("; ")]
    return {name: sources for name, *sources in parts}


def test_no_script_but_ours_runs() -> None:
    script = "window.ours = 1"
    found = directives(policy(["https://chat.example.com"], [script]))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert found["script-src"] == ["'self'", f"'sha256-{digest}'"]
    assert found["object-src"] == found["frame-ancestors"] == ["'none'"]
    assert found["base-uri"] == found["form-action"] == ["'self'"]


def test_sockets_of_our_own_origins_are_allowed() -> None:
    found = directives(policy(["https://chat.example.com", "http://127.0.0.1:3000"], []))
    assert found["connect-src"] == ["'self'", "wss://chat.example.com", "ws://127.0.0.1:3000"]


def test_inline_scripts_are_found_in_the_built_pages(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<script>one()</script><script src="/a.js"></script><script type="module" async="">two()'
        "</script><script></script>"
    )
    assert inline_scripts(tmp_path) == ["one()", "two()"]


@pytest.mark.parametrize(("env", "sent"), [("production", True), ("preview", False)])
def test_https_is_remembered_in_production_only(env: str, sent: bool) -> None:
    config = Settings.model_construct(app_env=env, app_url="https://chat.example.com")  # type: ignore[arg-type]
    assert ("Strict-Transport-Security" in headers(config, [])) is sent


@pytest.mark.parametrize(
    ("path", "status", "kind", "expected"),
    [
        ("/assets/a-1b2c.js", 200, "text/javascript", "public, max-age=31536000, immutable"),
        ("/assets/gone.js", 404, "text/html", "no-store"),
        ("/chat", 200, "text/html; charset=utf-8", "no-store"),
        ("/api/session/sign-in", 303, "", "no-store"),
        ("/favicon.svg", 200, "image/svg+xml", "no-cache"),
        ("/fonts/inter-1.woff2", 200, "font/woff2", "public, max-age=31536000, immutable"),
    ],
)
def test_only_hashed_files_are_kept(path: str, status: int, kind: str, expected: str) -> None:
    assert caching(path, status, kind) == expected


@pytest.mark.parametrize(
    ("provider", "sources"),
    [
        ("turnstile", ["https://challenges.cloudflare.com"]),
        ("hcaptcha", ["https://hcaptcha.com", "https://*.hcaptcha.com"]),
    ],
)
def test_captcha_may_run_where_one_is_set_up(provider: str, sources: list[str]) -> None:
    found = directives(policy(["https://chat.example.com"], [], provider))
    assert found["script-src"] == ["'self'", *sources]
    assert found["frame-src"] == sources
    assert found["connect-src"] == ["'self'", "wss://chat.example.com", *sources]
    without = policy(["https://chat.example.com"], [])
    assert not any(source in without for source in sources)
    assert directives(without)["frame-src"] == ["'none'"]


async def test_route_that_forbids_and_keeps_more_than_a_page_has_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def picture(_: Request) -> Response:
        strict = {"content-security-policy": "default-src 'none'", "cache-control": "private"}
        return Response(b"", headers=strict)

    async def other(_: Request) -> Response:
        return Response(b"")

    config = Settings.model_construct(app_url="https://chat.example.com")
    monkeypatch.setattr(security_headers, "settings", lambda: config)
    app = Starlette(routes=[Route("/api/picture", picture), Route("/api/other", other)])
    transport = httpx.ASGITransport(SecurityHeaders(app))
    async with httpx.AsyncClient(
        transport=transport, base_url="https://chat.example.com"
    ) as client:
        found = (await client.get("/api/picture")).headers
        usual = (await client.get("/api/other")).headers
    assert found["content-security-policy"] == "default-src 'none'"
    assert (found["cache-control"], usual["cache-control"]) == ("private", "no-store")
    assert "frame-ancestors 'none'" in usual["content-security-policy"]
    assert found["x-content-type-options"] == usual["x-content-type-options"] == "nosniff"


async def test_built_files_may_be_loaded_by_a_frame_without_an_origin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def anything(_: Request) -> Response:
        return Response(b"")

    config = Settings.model_construct(app_url="https://chat.example.com")
    monkeypatch.setattr(security_headers, "settings", lambda: config)
    app = Starlette(routes=[Route("/{path:path}", anything)])
    transport = httpx.ASGITransport(SecurityHeaders(app))
    async with httpx.AsyncClient(
        transport=transport, base_url="https://chat.example.com"
    ) as client:
        policies = [
            (await client.get(path)).headers["cross-origin-resource-policy"]
            for path in ("/assets/diagram_frame-1b2c.js", "/chat", "/api/assets/x", "/api/picture")
        ]
    assert policies == ["cross-origin", "same-origin", "same-origin", "same-origin"]


async def test_only_pages_may_run_the_scripts_of_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<script>ours()</script>")
    monkeypatch.setattr(security_headers, "BUILT_PAGES", tmp_path)
    config = Settings.model_construct(app_url="https://chat.example.com")
    monkeypatch.setattr(security_headers, "settings", lambda: config)

    async def answer(request: Request) -> Response:
        return Response(b"", media_type=request.query_params["type"])

    transport = httpx.ASGITransport(SecurityHeaders(Starlette(routes=[Route("/x", answer)])))
    async with httpx.AsyncClient(transport=transport, base_url="https://chat.example.com") as web:
        found = {
            kind: directives((await web.get("/x", params={"type": kind})).headers[POLICY])
            for kind in ("text/html", "image/svg+xml")
        }
    assert len(found["text/html"]["script-src"]) == 1 + 1
    assert found["image/svg+xml"]["script-src"] == ["'self'"]
