"""A receiver of webhooks for tests: verifies with the SDK, answers as configured, records deliveries."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stripe import SignatureVerificationError, WebhookSignature

SECRET = "whsec_of_the_tests"


@dataclass(slots=True)
class Receiver:
    """`answers` are the statuses of the next answers; then it is 200."""

    url: str = ""
    secret: str = SECRET
    answers: list[int] = field(default_factory=list[int])
    paths: list[str] = field(default_factory=list[str])
    received: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    # As they came: the body's bytes, and the signature's header.
    raw: list[tuple[bytes, str]] = field(default_factory=list[tuple[bytes, str]])

    def types(self) -> list[str]:
        return [event["type"] for event in self.received]


@contextmanager
def receiving(secret: str = SECRET, port: int = 0) -> Generator[Receiver]:
    receiver = Receiver(secret=secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.paths.append(self.path)
            try:
                WebhookSignature.verify_header(  # pyright: ignore[reportUnknownMemberType]
                    body, self.headers["stripe-signature"], receiver.secret, 300
                )
            except SignatureVerificationError:
                self.answer(400)
                return
            receiver.raw.append((body, self.headers["stripe-signature"]))
            receiver.received.append(json.loads(body))
            self.answer(receiver.answers.pop(0) if receiver.answers else 200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
