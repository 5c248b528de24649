"""The demo model, over real HTTP: first as OpenAI's interface, then through LiteLLM."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from childprocess.ports import free_port
from devstack.demo_model.commands import CommandError, parse
from devstack.demo_model.longform import long_answer
from devstack.demo_model.tokens import count_prompt, split_tokens
from devstack.tests.servers import clean_environment, running

KEY = "demo-key"
# Generous: a busy machine notices late that a client has left.
ABORT_SECONDS = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    variables = {"DEMO_PORT": str(port), "DEMO_API_KEY": KEY, "DEMO_TOKENS_PER_SECOND": "0"}
    base = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("demo") / "log"
    with running("devstack.demo_model", variables, health=f"{base}/health", log=log):
        yield base


@pytest.fixture
async def http(server: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=server, headers=headers, timeout=60) as client:
        yield client


@dataclass
class Heard:
    deltas: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, int] | None = None
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(self.deltas)


def says(*texts: str) -> list[dict[str, str]]:
    """A conversation of user messages, with a short answer after each but the last."""
    messages = [{"role": "user", "content": texts[0]}]
    for text in texts[1:]:
        messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": text}]
    return messages


async def stream(http: httpx.AsyncClient, into: Heard, text: str, **body: Any) -> None:
    started = time.perf_counter()
    request = {"model": "demo", "messages": says(text), "stream": True, **body}
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if not line:
                continue
            assert line.startswith("data: ")
            assert not into.done
            if line == "data: [DONE]":
                into.done = True
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if chunk.get("usage"):
                assert chunk["choices"] == []
                into.usage = chunk["usage"]
                continue
            [choice] = chunk["choices"]
            if choice["delta"].get("content"):
                into.deltas.append(choice["delta"]["content"])
                into.at.append(time.perf_counter() - started)
            into.finish_reason = choice["finish_reason"] or into.finish_reason


async def ask(http: httpx.AsyncClient, *texts: str, **body: Any) -> str:
    request = {"model": "demo", "messages": says(*texts), **body}
    response = await http.post("/v1/chat/completions", json=request)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


# Counting


def test_pieces_are_at_most_four_characters_and_join_to_the_text() -> None:
    text = "Hello, wörld!  \n\n\n\n\n\tdef f(x):\n    return x  # 日本語テキスト 👩‍👩‍👧 "
    pieces = split_tokens(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) == 4
    assert split_tokens("Hello there you") == ["Hell", "o", " the", "re", " you"]
    assert split_tokens("") == []


def test_prompt_counts_quarters_of_characters_and_an_overhead() -> None:
    assert count_prompt([{"role": "user", "content": "12345"}]) == 2 + 4 + 2
    assert count_prompt([{"role": "user", "content": [{"type": "text", "text": "1234"}]}]) == 7
    assert count_prompt([{"role": "assistant", "content": None}]) == 6


@pytest.mark.parametrize("length", [1, 2, 3, 40, 41, 57, 400, 1234, 20_000])
def test_long_answer_has_exactly_the_tokens_asked_for(length: int) -> None:
    text = long_answer(length)
    assert len(split_tokens(text)) == length
    assert text.count("```") % 2 == 0
    assert text.count("$$") % 2 == 0


def test_long_answer_shows_every_kind_of_markdown() -> None:
    text = long_answer(1500)
    for kind in ("# ", "## ", "| ", "```python", "```sql", "```typescript", "$$", "$n = ", "\n- "):
        assert kind in text
    assert "canned" in text


def test_commands_are_whole_messages_only() -> None:
    assert parse("/LONG 400  Speed 50") == parse("long 400 speed 50")
    assert parse("long 400 speed 50 silent 2 fail after 3") is not None
    for message in ("", "long", "long x", "write a long 400 text", "help me", "fail now", "stall"):
        assert parse(message) is None, message
    for message in ("long 0", "long 20001", "long " + "9" * 5000, "silent 601", "error 418"):
        with pytest.raises(CommandError):
            parse(message)


# The interface


async def test_missing_or_wrong_key_is_refused_in_openais_shape(server: str) -> None:
    async with httpx.AsyncClient(base_url=server) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}):
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
                response = await client.request(method, path, headers=headers)
                assert response.status_code == 401
                assert response.json()["error"]["code"] == "invalid_api_key"


async def test_models_are_listed(http: httpx.AsyncClient) -> None:
    listed = (await http.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == [
        "demo",
        "demo-large",
        "demo-small",
    ]


async def test_unknown_model_is_not_found(http: httpx.AsyncClient) -> None:
    body = {"model": "gpt-4o", "messages": says("hi")}
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"model": "demo"}, "messages"),
        ({"model": "demo", "messages": []}, "messages"),
        ({"model": "demo", "messages": "hi"}, "messages"),
        ({"model": "demo", "messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"model": "demo", "messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
        ({"model": "demo", "messages": [{"role": "user", "content": 5}]}, "messages.0.content.str"),
        ({"model": "demo", "messages": says("hi"), "max_tokens": 0}, "max_tokens"),
        ({"model": "demo", "messages": says("hi"), "max_tokens": "9"}, "max_tokens"),
        ({"model": "demo", "messages": says("hi"), "stream": "yes"}, "stream"),
        ({"model": "demo", "messages": says("hi"), "n": 2}, "n"),
    ],
)
async def test_malformed_request_is_refused_by_name(
    http: httpx.AsyncClient, body: dict[str, Any], param: str
) -> None:
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_what_is_not_json_is_refused(http: httpx.AsyncClient) -> None:
    for content in (b"", b"{", b"[1]", b"\xff\xfe", b"null"):
        response = await http.post("/v1/chat/completions", content=content)
        assert response.status_code == 400
        assert "error" in response.json()
    assert (await http.get("/v1/nothing")).json()["error"]["type"] == "invalid_request_error"


async def test_stream_and_whole_answer_say_and_count_the_same(http: httpx.AsyncClient) -> None:
    heard = Heard()
    await stream(http, heard, "What are my limits?", stream_options={"include_usage": True})
    body = {"model": "demo", "messages": says("What are my limits?")}
    whole = (await http.post("/v1/chat/completions", json=body)).json()
    text = whole["choices"][0]["message"]["content"]
    assert heard.text == text
    assert heard.deltas == split_tokens(text)
    assert heard.finish_reason == whole["choices"][0]["finish_reason"] == "stop"
    assert heard.done
    tokens = len(split_tokens(text))
    prompt = count_prompt(says("What are my limits?"))
    assert heard.usage == whole["usage"]
    assert whole["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
    }


async def test_usage_is_streamed_only_when_asked_for(http: httpx.AsyncClient) -> None:
    heard = Heard()
    await stream(http, heard, "hello")
    assert heard.done
    assert heard.usage is None


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_answer_ends_at_the_token_limit(http: httpx.AsyncClient, name: str) -> None:
    heard = Heard()
    await stream(http, heard, "long 400", **{name: 17}, stream_options={"include_usage": True})
    assert len(heard.deltas) == 17
    assert heard.finish_reason == "length"
    assert heard.usage
    assert heard.usage["completion_tokens"] == 17


# What it says


async def test_answers_say_that_they_are_canned_and_how_to_get_real_ones(
    http: httpx.AsyncClient,
) -> None:
    for text in ("hello", "what does it cost", "quux?", "help", "long 0", "slow speed 0"):
        said = await ask(http, text)
        assert "canned" in said, text
        assert "OPENAI_API_KEY" in said
        assert "ANTHROPIC_API_KEY" in said


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Hello there", "Good to see you"),
        ("help", "| Command |"),
        ("How does billing work?", "billed once"),
        ("Why was I refused? What is my quota?", "Four gates"),
        ("Is my data private and secure?", "Row-level security"),
        ("What happens before a model is called?", "billing firewall"),
        ("Which models are there?", "`demo-large`"),
        ("show me a table", "| Day |"),
        ("/code", "```python"),
        ("Math", "$$"),
        ("can you render markdown lists", "- [x]"),
        ("What is the capital of France?", "> What is the capital of France?"),
        ("long 999999", "20,000"),
        ("code 3", "# line 3\n```"),
        ("code 2001", "2,000"),
    ],
)
async def test_topic_follows_from_the_message(
    http: httpx.AsyncClient, question: str, expected: str
) -> None:
    assert expected in await ask(http, question)


async def test_same_conversation_gets_the_same_answer(http: httpx.AsyncClient) -> None:
    assert await ask(http, "a", "b?") == await ask(http, "a", "b?")


async def test_larger_model_says_more(http: httpx.AsyncClient) -> None:
    small = await ask(http, "What does it cost?")
    large = await ask(http, "What does it cost?", model="demo-large")
    assert len(large) > len(small) + 200


async def test_earlier_turns_are_remembered(http: httpx.AsyncClient) -> None:
    turns = ("My name is Ada.", "The second thing.")
    assert "> My name is Ada." in await ask(http, *turns, "What did I say first?")
    assert "> The second thing." in await ask(http, *turns, "what did I say before that?")
    assert "is Ada" in await ask(http, *turns, "What is my name?")
    assert "3 messages" in await ask(http, *turns, "How many messages have I sent?")


async def test_echo_is_short_and_harmless(http: httpx.AsyncClient) -> None:
    said = await ask(http, "<script>alert(1)</script> `x` [a](b) " + "z" * 5000)
    assert "<script" not in said
    assert len(said) < 1200


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Can you tell me how row level security protects my invoices?", None),
        ("hi", "About hi"),
        ("", "A new chat"),
        ("!!! ???", "A new chat"),
        ('"quoted" things', "Quoted things"),
        ("long 400", "Long 400"),
        ("请告诉我关于计费的事情" * 20, None),
    ],
)
async def test_title_is_two_to_six_words(
    http: httpx.AsyncClient, message: str, expected: str | None
) -> None:
    messages = [
        {"role": "system", "content": "Write a short title for this conversation."},
        {"role": "user", "content": message},
    ]
    body = {"model": "demo", "messages": messages, "max_tokens": 20}
    reply = (await http.post("/v1/chat/completions", json=body)).json()
    title = reply["choices"][0]["message"]["content"]
    assert 2 <= len(title.split()) <= 6
    assert not set(title) & set("\"'“”`\n")
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert expected in (None, title)


# How it behaves


async def test_speed_is_kept(http: httpx.AsyncClient) -> None:
    heard = Heard()
    await stream(http, heard, "long 60 speed 100")
    assert len(heard.deltas) == 60
    # Not faster; how much slower is the machine's.
    assert heard.at[-1] > 0.55


async def test_slow_is_about_two_tokens_a_second(http: httpx.AsyncClient) -> None:
    heard = Heard()
    await stream(http, heard, "long 3 slow")
    assert heard.at[-1] > 0.9


async def test_silence_comes_before_the_first_token(http: httpx.AsyncClient) -> None:
    heard = Heard()
    await stream(http, heard, "silent 1 long 5")
    assert heard.at[0] > 0.95
    assert heard.finish_reason == "stop"


async def test_failures_come_before_the_first_token(http: httpx.AsyncClient) -> None:
    for text, status, code in (
        ("fail", 500, "internal_error"),
        ("error 429", 429, "rate_limit_exceeded"),
    ):
        for streamed in (True, False):
            body = {"model": "demo", "messages": says(text), "stream": streamed}
            response = await http.post("/v1/chat/completions", json=body)
            assert response.status_code == status
            assert response.json()["error"]["code"] == code
            assert (response.headers.get("retry-after") == "1") == (status == 429)


async def test_fail_after_breaks_the_connection(http: httpx.AsyncClient) -> None:
    heard = Heard()
    with pytest.raises(httpx.RemoteProtocolError):
        await stream(http, heard, "fail after 7")
    assert len(heard.deltas) == 7
    assert (heard.finish_reason, heard.done) == (None, False)


async def test_cut_after_ends_cleanly_without_a_reason(http: httpx.AsyncClient) -> None:
    heard = Heard()
    await stream(http, heard, "cut after 7", stream_options={"include_usage": True})
    assert len(heard.deltas) == 7
    assert (heard.finish_reason, heard.done, heard.usage) == (None, False, None)


async def test_stall_goes_quiet_and_keeps_the_connection(http: httpx.AsyncClient) -> None:
    heard = Heard()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await stream(http, heard, "stall after 7")
    assert len(heard.deltas) == 7
    assert not heard.done


async def test_interrupted_whole_answer_never_looks_complete(http: httpx.AsyncClient) -> None:
    body = {"model": "demo", "messages": says("fail after 50")}
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/v1/chat/completions", json=body)


async def test_reply_stops_when_the_client_leaves(http: httpx.AsyncClient) -> None:
    before = (await http.get("/health")).json()["replies"]
    body = {"model": "demo", "messages": says("long 5000 speed 200"), "stream": True}
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        async for _ in response.aiter_lines():
            break
    left = time.perf_counter()
    while True:
        after = (await http.get("/health")).json()["replies"]
        if after["aborted"] > before["aborted"]:
            break
        assert time.perf_counter() - left < ABORT_SECONDS, "still writing"
    assert after["last_aborted_tokens"] < 100
    assert after["open"] == before["open"]


async def heard_events(http: httpx.AsyncClient, text: str, **body: Any) -> list[dict[str, Any]]:
    """The chunks of an answer; of one that lingers, those until its finish reason."""
    request = {
        "model": "demo",
        "messages": says(text),
        "stream": True,
        "stream_options": {"include_usage": True},
        **body,
    }
    found: list[dict[str, Any]] = []
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                found.append(json.loads(line.removeprefix("data: ")))
                if text == "linger" and found[-1]["choices"][0]["finish_reason"]:
                    break
    return found


def joined(events: list[dict[str, Any]], kind: str) -> str:
    return "".join(choice["delta"].get(kind) or "" for each in events for choice in each["choices"])


def finished(events: list[dict[str, Any]]) -> str | None:
    reasons = [choice["finish_reason"] for each in events for choice in each["choices"]]
    return next((reason for reason in reasons if reason), None)


async def test_thinking_comes_first_and_counts(http: httpx.AsyncClient) -> None:
    events = await heard_events(http, "think 1 long 20")
    kinds = [key for each in events for choice in each["choices"] for key in choice["delta"]]
    assert kinds.index("reasoning_content") < kinds.index("content", 2)
    assert joined(events, "reasoning_content").startswith("Let me see")
    usage = events[-1]["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 20}
    assert usage["completion_tokens"] == 40


@pytest.mark.parametrize(("effort", "tokens"), [("none", 0), ("low", 20), ("high", 200)])
async def test_effort_says_how_much_is_thought(
    http: httpx.AsyncClient, effort: str, tokens: int
) -> None:
    events = await heard_events(http, "hello", reasoning_effort=effort)
    details = events[-1]["usage"].get("completion_tokens_details", {"reasoning_tokens": 0})
    assert details["reasoning_tokens"] == tokens
    assert bool(joined(events, "reasoning_content")) == bool(tokens)


async def test_thinking_takes_its_part_of_the_limit(http: httpx.AsyncClient) -> None:
    events = await heard_events(http, "long 400", reasoning_effort="low", max_tokens=30)
    assert len([each for each in events if "content" in str(each)]) >= 10
    assert finished(events) == "length"
    assert events[-1]["usage"]["completion_tokens"] == 30


@pytest.mark.parametrize(
    ("command", "reason", "said"),
    [
        ("limit after 5", "length", True),
        ("filter after 5", "content_filter", True),
        ("filter after 0", "content_filter", False),
        ("empty", "stop", False),
        ("linger", "stop", True),
    ],
)
async def test_each_ending_can_be_asked_for(
    http: httpx.AsyncClient, command: str, reason: str, said: bool
) -> None:
    events = await heard_events(http, command)
    assert finished(events) == reason
    assert bool(joined(events, "content")) == said


async def test_hidden_thinking_keeps_the_connection_alive_and_says_nothing(
    http: httpx.AsyncClient,
) -> None:
    request = {"model": "demo", "messages": says("hide 1 long 5"), "stream": True}
    lines: list[str] = []
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        async for line in response.aiter_lines():
            lines.append(line)
    assert ": thinking" in lines
    assert not any("reasoning" in line for line in lines)


async def test_refusal_is_openais(http: httpx.AsyncClient) -> None:
    events = await heard_events(http, "refuse")
    assert joined(events, "content") == ""
    assert joined(events, "refusal").startswith("I can't help")


async def test_answer_at_its_limit_is_continued_to_its_end(http: httpx.AsyncClient) -> None:
    first = joined(await heard_events(http, "limit after 40"), "content")
    go_on = "Your reply was cut off. Continue it exactly where it stopped."
    messages = [
        *says("limit after 40"),
        {"role": "assistant", "content": first},
        {"role": "user", "content": go_on},
    ]
    events = await heard_events(http, "", messages=messages)
    assert finished(events) == "stop"
    assert first + joined(events, "content") == long_answer(240)


def test_streaming_is_visible_by_default(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    variables = {"DEMO_PORT": str(port), "DEMO_API_KEY": KEY}
    with running("devstack.demo_model", variables, health=f"{base}/health", log=tmp_path / "log"):
        started = time.perf_counter()
        httpx.post(
            f"{base}/v1/chat/completions",
            headers={"authorization": f"Bearer {KEY}"},
            json={"model": "demo", "messages": says("long 61"), "stream": True},
        )
        # 60 tokens a second; how much longer it takes is the machine's.
        assert time.perf_counter() - started > 0.9


def test_stops_promptly_although_a_reply_is_stalled(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    variables = {"DEMO_PORT": str(port), "DEMO_API_KEY": KEY, "DEMO_TOKENS_PER_SECOND": "0"}
    with (
        running(
            "devstack.demo_model", variables, health=f"{base}/health", log=tmp_path / "log"
        ) as process,
        httpx.stream(
            "POST",
            f"{base}/v1/chat/completions",
            headers={"authorization": f"Bearer {KEY}"},
            json={"model": "demo", "messages": says("stall after 1"), "stream": True},
        ),
    ):
        process.terminate()
        assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("variables", "status", "message"),
    [
        ({}, 2, "DEMO_PORT is not a port number; DEMO_API_KEY is missing"),
        ({"DEMO_PORT": "1", "DEMO_API_KEY": "k", "DEMO_TOKENS_PER_SECOND": "-1"}, 2, "TOKENS"),
        ({"APP_ENV": "production"}, 1, "for development only"),
    ],
)
def test_bad_environment_is_one_line_and_no_start(
    variables: dict[str, str], status: int, message: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "devstack.demo_model"],
        env=clean_environment(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == status
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_taken_port_is_refused(server: str) -> None:
    port = server.rpartition(":")[2]
    ended = subprocess.run(
        [sys.executable, "-m", "devstack.demo_model"],
        env=clean_environment({"DEMO_PORT": port, "DEMO_API_KEY": KEY}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert f"Port {port} is already in use" in ended.stderr


def test_imports_nothing_of_the_product_nor_a_vendors_library() -> None:
    names = "import sys, devstack.demo_model.app; print('\\n'.join(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", names], capture_output=True, text=True, check=True
    ).stdout
    loaded = set(shown.split())
    assert not loaded & {"litellm", "reflex", "openai", "sqlalchemy", "psycopg", "supabase"}
    ours = {name for name in loaded if re.match(r"aisaas\.", name)}
    assert all(name.startswith(("devstack", "childprocess")) for name in ours)


# Through LiteLLM


@pytest.fixture(scope="module")
def litellm() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litellm as module
        yield module


def through(server: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "openai/demo",
        "api_base": f"{server}/v1",
        "api_key": KEY,
        "messages": says(text),
        "max_retries": 0,
        **more,
    }


@pytest.mark.filterwarnings("ignore")
async def test_litellm_gets_a_whole_answer_and_its_usage(server: str, litellm: Any) -> None:
    reply = await litellm.acompletion(**through(server, "long 123"))
    assert reply.choices[0].message.content == long_answer(123)
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens == 123
    assert reply.usage.prompt_tokens == count_prompt(says("long 123"))


@pytest.mark.filterwarnings("ignore")
async def test_litellm_streams_and_reports_usage(server: str, litellm: Any) -> None:
    usage_too = {"include_usage": True}
    reply = await litellm.acompletion(
        **through(server, "long 300", stream=True, stream_options=usage_too)
    )
    text, usage, reason = "", None, None
    async for chunk in reply:
        usage = getattr(chunk, "usage", None) or usage
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
    assert text == long_answer(300)
    assert reason == "stop"
    assert usage
    assert usage.completion_tokens == 300
    assert usage.prompt_tokens == count_prompt(says("long 300"))


@pytest.mark.filterwarnings("ignore")
async def test_litellm_stopping_aborts_the_reply(
    server: str, http: httpx.AsyncClient, litellm: Any
) -> None:
    before = (await http.get("/health")).json()["replies"]["aborted"]
    reply = await litellm.acompletion(**through(server, "long 5000 speed 100", stream=True))
    async for _ in reply:
        break
    await reply.aclose()
    stopped = time.perf_counter()
    while (await http.get("/health")).json()["replies"]["aborted"] == before:
        assert time.perf_counter() - stopped < ABORT_SECONDS, "still writing"


@pytest.mark.filterwarnings("ignore")
async def test_litellm_raises_the_failures_of_a_provider(server: str, litellm: Any) -> None:
    with pytest.raises(litellm.RateLimitError):
        await litellm.acompletion(**through(server, "error 429"))
    with pytest.raises(litellm.InternalServerError):
        await litellm.acompletion(**through(server, "fail"))
    with pytest.raises(litellm.AuthenticationError):
        await litellm.acompletion(**(through(server, "hello") | {"api_key": "wrong"}))
    with pytest.raises(litellm.NotFoundError):
        await litellm.acompletion(**(through(server, "hello") | {"model": "openai/gpt-4o"}))
