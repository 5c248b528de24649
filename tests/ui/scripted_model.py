"""A provider that says what a test wrote: the last message of a request names the text.

It speaks OpenAI's streaming protocol over a real socket, for the whole product in its own process.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What comes without a pace comes in pieces of this many characters. A provider that says one token
# a hundred times is given up.
LARGE_PIECE = 200
# Longer than any test waits.
PATIENCE_SECONDS = 120
PIECE = re.compile(r"\s*\S{1,6}|\s+")
TITLE = "A scripted title"


@dataclass
class Script:
    """A reply: its text, how fast it comes, and where it waits for `resume`."""

    text: str
    tokens_per_second: float | None = None
    pause_at: int | None = None
    resume: threading.Event = field(default_factory=threading.Event)

    def pieces(self) -> Iterator[str]:
        pause = len(self.text) if self.pause_at is None else self.pause_at
        yield from self._cut(self.text[:pause])
        if pause < len(self.text):
            self.resume.wait(PATIENCE_SECONDS)
            yield from self._cut(self.text[pause:])

    def _cut(self, text: str) -> Iterator[str]:
        if self.tokens_per_second:
            yield from (found[0] for found in PIECE.finditer(text))
        else:
            yield from (text[at : at + LARGE_PIECE] for at in range(0, len(text), LARGE_PIECE))


class ScriptedModel:
    """Texts by the names that messages ask for."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.url = ""

    def will_say(self, name: str, text: str, **how: Any) -> Script:
        self.scripts[name] = script = Script(text, **how)
        return script

    def script(self, request: dict[str, Any]) -> Script:
        asked = request["messages"][-1]["content"]
        if not isinstance(asked, str):
            asked = "".join(part.get("text", "") for part in asked)
        return self.scripts.get(asked.strip(), Script(TITLE))


@contextmanager
def scripted_model() -> Generator[ScriptedModel]:
    model = ScriptedModel()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            request = json.loads(self.rfile.read(length))
            script = model.script(request)
            if request.get("stream"):
                self._stream(script)
            else:
                self._whole(script)

        def _whole(self, script: Script) -> None:
            message = {"role": "assistant", "content": script.text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps(_completion("chat.completion", [choice], usage=_usage(5))).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, script: Script) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            count = 0
            started = time.monotonic()
            for piece in script.pieces():
                count += 1
                if script.tokens_per_second:
                    due = started + count / script.tokens_per_second
                    time.sleep(max(due - time.monotonic(), 0))
                self._event([{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
            self._event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
            self._event([], usage=_usage(count))
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, choices: list[Any], **rest: Any) -> None:
            body = json.dumps(_completion("chat.completion.chunk", choices, **rest))
            self.wfile.write(f"data: {body}\n\n".encode())
            self.wfile.flush()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield model
    finally:
        for script in model.scripts.values():
            script.resume.set()
        server.shutdown()
        server.server_close()


def _completion(kind: str, choices: list[Any], **rest: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": kind,
        "created": 1,
        "model": "scripted",
        "choices": choices,
        **rest,
    }


def _usage(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 20, "completion_tokens": completion, "total_tokens": 20 + completion}
