"""Log lines for machines: what they belong to, and what is never in them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
from collections.abc import Generator
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import pytest_asyncio
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aisaas import logs
from aisaas.api.request_ids import RequestIds
from aisaas.errors import Unavailable
from aisaas.logs import JsonFormatter, SafeFormatter, configure
from aisaas.observe import context
from aisaas.observe.context import current, entered, identify, pseudonym
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.parts import outage
from tests.services import Build, new_member, new_principal, whole

log = logging.getLogger("aisaas.tests")

SECRET = "a-secret-of-the-settings-0123456789"
CANARY = "the cat of Xanthippe sleeps"


class Written:
    """What went to stderr, line by line."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Generator[Written]:
    """Logging as `serve` sets it up, at the most talkative level."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level, loggers = root.handlers[:], root.level, ("aisaas", "httpx", "httpcore")
    levels = {name: logging.getLogger(name).level for name in loggers}
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    monkeypatch.setattr(sys, "stderr", stream)
    configure("DEBUG", [SECRET], form="json")
    monkeypatch.undo()
    yield Written(stream)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest_asyncio.fixture(loop_scope="session")
async def spare(spare_stack: Stack) -> Stack:
    return spare_stack


def _line(message: str, *args: object) -> dict[str, object]:
    record = logging.LogRecord("aisaas.x", logging.WARNING, "x.py", 1, message, args, None)
    return json.loads(JsonFormatter([SECRET]).format(record))


# What a line is


def test_a_line_is_one_json_object_also_of_many_lines(written: Written) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        log.exception("it failed\nbadly")
    (line,) = written.lines
    assert line["message"] == "it failed\nbadly"
    assert str(line["exception"]).endswith("ValueError: first\nsecond")
    assert (line["level"], line["logger"]) == ("error", "aisaas.tests")
    assert str(line["time"]).endswith("Z")
    assert isinstance(line["pid"], int)


def test_a_line_names_what_it_belongs_to_and_nothing_else() -> None:
    user, reply = uuid4(), uuid4()
    with entered(request="req-1", user=user):
        with entered(reply=reply):
            inner = _line("inner")
        outer = _line("outer")
    after = _line("after")
    assert (inner["request"], inner["user"], inner["reply"]) == (
        "req-1",
        pseudonym(user),
        str(reply),
    )
    assert (outer["user"], "reply" in outer) == (pseudonym(user), False)
    assert not {"request", "user", "reply"} & set(after)
    assert str(user) not in json.dumps(inner)


async def test_what_a_line_belongs_to_goes_along_into_tasks_and_not_into_others() -> None:
    seen: list[dict[str, str]] = []

    async def look() -> None:
        await asyncio.sleep(0)
        seen.append(dict(current()))

    with entered(request="req-1"):
        inside = asyncio.create_task(look())
    outside = asyncio.create_task(look())
    await asyncio.gather(inside, outside)
    assert seen == [{"request": "req-1"}, {}]


def test_a_pseudonym_is_the_same_wherever_the_secret_is_and_another_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context, "_key", b"")
    user, other = uuid4(), uuid4()
    identify("x" * 40)
    mine = pseudonym(user)
    assert mine == pseudonym(UUID(str(user)))
    assert mine != pseudonym(other)
    identify("y" * 40)
    assert mine not in {pseudonym(user), user.hex[:16]}
    assert len(mine) == 16


# What comes from outside


def _text_line(message: str, *args: object, error: Exception | None = None) -> str:
    info = (type(error), error, None) if error else None
    record = logging.LogRecord("aisaas.x", logging.WARNING, "x.py", 1, message, args, info)
    return SafeFormatter([SECRET]).format(record)


@pytest.mark.parametrize(
    "control",
    ["\n", "\r", "\0", "\x1b[2J", "\x9b1A", "\x85", "\u2028", "\u2029", "\u202e", "\ud800", "\b"],
    ids=ascii,
)
def test_no_text_begins_a_line_of_its_own_or_moves_the_terminal(control: str) -> None:
    # Not the present, with which the log's own lines begin.
    forged = f"x{control}1999-12-31 12:00:00,000 ERROR aisaas.chat: forged"
    for logged in (_text_line("it says %s", forged), _text_line("x", error=ValueError(forged))):
        assert control not in logged.replace("\n    ", "")
        assert not any(line.startswith("1999-12-31") for line in logged.splitlines())
    line = _line("it says %s", forged)
    assert control.strip("\n") not in json.dumps(line, ensure_ascii=False) or control == "\n"


def test_ordinary_text_is_written_as_it_is() -> None:
    text = "caf\u00e9 \u4e2d\u6587 \u05e2\u05d1\u05e8\u05d9\u05ea \U0001f600 C:\\dir [x]"
    assert _text_line("%s", text).endswith(text)
    assert _line("%s", text)["message"] == text


def test_rows_that_an_error_quotes_are_left_out_of_a_message_too() -> None:
    error = "duplicate key\nDETAIL:  Key (email)=(ada@example.com) already exists.\nCONTEXT:  x"
    assert "ada" not in _text_line("failed: %s", error)
    assert "ada" not in json.dumps(_line("failed: %s", error))


def test_a_library_that_strangers_can_make_talk_says_the_same_only_so_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    limit = logs.OnlySoOften()

    def written(name: str, line: int) -> int:
        records = [
            logging.LogRecord(name, logging.WARNING, "app.py", line, "%d", (number,), None)
            for number in range(logs.LINES_PER_WINDOW + 5)
        ]
        return sum(map(limit.filter, records))

    assert written("reflex.app", 1) == logs.LINES_PER_WINDOW
    assert written("reflex.app", 1) == 0
    # Another place still is heard, and ours always is.
    assert written("reflex.app", 2) == logs.LINES_PER_WINDOW
    assert written("aisaas.chat", 1) == logs.LINES_PER_WINDOW + 5
    now[0] += logs.WINDOW_SECONDS + 1
    assert written("reflex.app", 1) == logs.LINES_PER_WINDOW


# Requests


async def test_each_request_has_a_name_that_its_lines_carry_and_its_answer_tells() -> None:
    async def respond(_: Request) -> JSONResponse:
        return JSONResponse(_line("asked"))

    app = RequestIds(Starlette(routes=[Route("/", respond)]))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as browser:
        first, second = await browser.get("/"), await browser.get("/")
        kept = await browser.get("/", headers={"x-request-id": "from-a-proxy.1"})
        made_up = await browser.get("/", headers={"x-request-id": 'a"b\tc{}de'})
        too_long = await browser.get("/", headers={"x-request-id": "a" * 65})
    for answer in (first, second, kept, made_up, too_long):
        assert answer.json()["request"] == answer.headers["x-request-id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert kept.headers["x-request-id"] == "from-a-proxy.1"
    assert "{" not in made_up.headers["x-request-id"]
    assert len(too_long.headers["x-request-id"]) == 16


# What is never in them


@pytest.mark.parametrize(
    "secret_text",
    [
        f"connecting with {SECRET} failed",
        "key sk_test_0123456789abcdef refused",
        "whsec_0123456789abcdef is wrong",
        "token eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl expired",
        "GET /confirm?token=0123456789abcdef",
        "Authorization: Bearer 0123456789abcdef",
    ],
)
def test_no_line_has_a_secret(secret_text: str) -> None:
    line = json.dumps(_line("%s", secret_text))
    for secret in (SECRET, "0123456789abcdef", "c2lnbmF0dXJl"):
        assert secret not in line
    assert logs.REDACTED in line


def test_an_exception_has_no_secret_either(written: Written) -> None:
    try:
        raise ValueError(f"could not connect to redis://:{SECRET}@host")
    except ValueError:
        log.exception("it failed")
    assert SECRET not in written.text
    assert logs.REDACTED in written.text


def test_what_a_model_of_ours_refuses_is_not_quoted(written: Written) -> None:
    class Form(BaseModel):
        text: int

    typed = f"{CANARY}\nand more, with 'quotes'"
    try:
        Form.model_validate({"text": typed})
    except ValidationError:
        log.exception("not a form")
    assert "Xanthippe" not in written.text
    assert "and more" not in written.text
    assert "Input should be a valid integer" in written.text


def test_what_the_database_quotes_of_a_row_is_left_out(written: Written, stack: Stack) -> None:
    with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"]) as connection:
        connection.execute("create temporary table said (words text unique)")
        connection.execute("insert into said values (%s)", [CANARY])
        try:
            connection.execute("insert into said values (%s)", [CANARY])
        except psycopg.Error:
            log.exception("not stored")
    assert "said_words_key" in written.text
    assert "Xanthippe" not in written.text


async def test_a_reply_logs_its_request_user_and_reply_and_no_word_of_it(
    services: Services, written: Written
) -> None:
    """Through everything that prints: the door, the provider's library, the settling, a fallback."""
    member = await new_member(services)
    principal = member.principal
    with entered(request="click-1"):
        await services.accounts.principal(member.cookie)
        started = await services.chat.send(
            principal, f"echo {CANARY}", conversation_id=None, model="broken"
        )
        shown, _ = await whole(services, principal, started)
    assert shown
    fell_back = [line for line in written.lines if "broken" in str(line["message"])]
    assert fell_back, written.text
    for line in fell_back:
        assert line["request"] == "click-1"
        assert line["user"] == pseudonym(principal.user_id)
        assert line["reply"] == str(started.reply.id)
    for never in (
        "Xanthippe",
        shown[:40],
        str(principal.user_id),
        principal.email,
        member.cookie,
        *(secret for _, secret in services.settings.secrets()),
    ):
        assert never not in written.text


@pytest.mark.parametrize("part", ["postgres", "valkey"])
async def test_an_outage_while_sending_logs_no_word_either(
    build_spare: Services, spare: Stack, written: Written, part: str
) -> None:
    principal = await new_principal(build_spare)
    with outage(spare, part, "stopped"), pytest.raises(Unavailable):
        await build_spare.chat.send(principal, CANARY, conversation_id=None, model="demo")
    log.warning("the end")
    assert "the end" in written.text
    assert "Xanthippe" not in written.text


@pytest_asyncio.fixture(loop_scope="session")
async def build_spare(build_services: Build, spare: Stack, patience: None) -> object:
    values = {name.lower(): value for name, value in spare.env.items()}
    async with build_services(**values, demo_api_base="http://127.0.0.1:9/v1") as made:
        yield made


def test_other_peoples_libraries_say_less_than_we_do(written: Written) -> None:
    logging.getLogger("openai._base_client").debug("Request options: %s", CANARY)
    logging.getLogger("httpcore.http11").info("headers: %s", CANARY)
    log.debug("ours")
    assert [line["message"] for line in written.lines] == ["ours"]


def test_text_stays_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.LogRecord("aisaas.x", logging.WARNING, "x.py", 1, "hello", (), None)
    assert logs.SafeFormatter([]).format(record).endswith("WARNING aisaas.x: hello")
