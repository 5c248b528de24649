"""What a browser would meet at the address that users type."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from aisaas.cli.checklist import address
from aisaas.cli.checklist.findings import Finding
from aisaas.settings import load
from childprocess.ports import free_port
from tests.mail_server import certificate
from tests.production.conftest import by_item
from tests.production.test_configuration import READY

HSTS = {"Strict-Transport-Security": "max-age=31536000"}
Serve = Callable[..., AbstractContextManager[int]]


def _look(url: str) -> Finding:
    return by_item(address.look(load(**(READY | LOCAL | {"app_url": url}))))["address"]


# Production refuses addresses of this machine.
LOCAL: dict[str, object] = {"app_env": "preview", "stripe_secret_key": None}


@contextmanager
def serving(
    status: int, headers: dict[str, str], tls: ssl.SSLContext | None = None
) -> Generator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a certificate for localhost that this process trusts."""
    context, trusted = certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


def test_address_with_a_certificate_and_hsts_is_well(tls: ssl.SSLContext) -> None:
    with serving(200, HSTS, tls) as port:
        assert _look(f"https://localhost:{port}").state == "ok"


def test_certificate_that_nobody_trusts_is_reported(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with serving(200, HSTS, tls) as port:
        found = _look(f"https://localhost:{port}")
    assert found.state == "failed"
    assert "browsers will warn" in found.said


def test_certificate_for_another_name_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, "other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with serving(200, HSTS, context) as port:
        assert _look(f"https://localhost:{port}").state == "failed"


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [(200, {}, "without Strict-Transport-Security"), (502, HSTS, "answers 502")],
)
def test_proxy_that_does_not_lead_to_the_app_is_reported(
    status: int, headers: dict[str, str], said: str, tls: ssl.SSLContext
) -> None:
    with serving(status, headers, tls) as port:
        found = _look(f"https://localhost:{port}")
    assert found.state == "failed"
    assert said in found.said


def test_address_where_nothing_answers_yet_is_skipped() -> None:
    assert _look(f"https://localhost:{free_port()}").state == "skipped"


def test_plain_http_has_to_lead_to_https_or_to_be_closed() -> None:
    with serving(308, {"Location": "https://localhost/"}) as port:
        assert address.plain_http(f"http://127.0.0.1:{port}").state == "ok"
    with serving(200, {}) as port:
        found = address.plain_http(f"http://127.0.0.1:{port}")
    assert (found.state, "instead of redirecting to https" in found.said) == ("failed", True)
    assert address.plain_http(f"http://127.0.0.1:{free_port()}").said == "closed"


def test_address_without_https_is_skipped_here_because_origins_fail() -> None:
    config = load(**(READY | LOCAL | {"app_env": "development", "app_url": "http://a.example"}))
    assert {each.state for each in address.look(config)} == {"skipped"}
