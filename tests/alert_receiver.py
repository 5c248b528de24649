"""An alert webhook for tests: it records what was posted and answers as configured."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from childprocess.ports import HOST


@dataclass(frozen=True, slots=True)
class Posted:
    body: bytes
    headers: Mapping[str, str]

    @property
    def said(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(slots=True)
class AlertReceiver:
    """`answers` are the statuses of the next answers; then it is 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list[int])
    posted: list[Posted] = field(default_factory=list[Posted])


@contextmanager
def taking_alerts(port: int = 0) -> Generator[AlertReceiver]:
    receiver = AlertReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.posted.append(Posted(body, dict(self.headers.items())))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            self.send_header("location", receiver.url)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, port), Handler)
    receiver.url = f"http://{HOST}:{server.server_port}/a-token"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
