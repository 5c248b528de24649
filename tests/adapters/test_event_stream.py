"""Answers that are read from the wire: the same as through LiteLLM's wrapper, in whatever form they come."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import SecretStr

from aisaas.adapters import event_stream
from aisaas.adapters.event_stream import VENDORS
from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.chat.ports import Chunk, Finish, Text, Thinking
from aisaas.errors import ProviderError
from aisaas.language_models import Usage
from aisaas.providers import ModelProvider
from aisaas.settings import Settings
from tests.adapters.test_litellm_model import admitted_for, model_of
from tests.scripted_provider import (
    DONE,
    HANG,
    Answer,
    anthropic_ends,
    anthropic_hides,
    anthropic_says,
    anthropic_starts,
    anthropic_thinks,
    chunk,
    ends,
    finish,
    says,
    scripted_provider,
    thinks,
    usage,
)

OPENAI = sorted(VENDORS["openai"])
# Azure's path has a deployment and a version.
PARAMETERS: Mapping[str, Mapping[str, object]] = {"azure": {"api_version": "2025-01-01"}}


async def read(vendor: str, answer: Answer) -> tuple[list[Chunk], str | None]:
    """What a vendor's answer becomes, and the error that ended it."""
    model = dataclasses.replace(model_of("openai"), upstream=f"{vendor}/some-model")
    async with scripted_provider(answer) as told:
        base = told.url if vendor in {"azure", "anthropic"} else f"{told.url}/v1"
        adapter: Any = LiteLLMModel(Settings.model_construct())
        adapter._providers = {
            "openai": ModelProvider(
                id="openai",
                label="Some",
                prefix=vendor,
                key=SecretStr("sk-some"),
                base=base,
                parameters=PARAMETERS.get(vendor, {}),
            )
        }
        chunks: list[Chunk] = []
        try:
            async with aclosing(adapter.stream(admitted_for(model), model)) as stream:
                async for each in stream:
                    chunks.append(each)
        except ProviderError as error:
            return chunks, error.kind
    return chunks, None


def joined(chunks: Sequence[Chunk]) -> tuple[str, str, list[Usage], str]:
    """Thinking, text, the reports, and the ending."""
    return (
        "".join(each.text for each in chunks if isinstance(each, Thinking)),
        "".join(each.text for each in chunks if isinstance(each, Text)),
        [each for each in chunks if isinstance(each, Usage)],
        "".join(each.reason for each in chunks if isinstance(each, Finish)),
    )


def through_the_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "VENDORS", dict.fromkeys(VENDORS, frozenset()))


def reading_from_the_wire(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The vendors whose answers are read from the wire from now on."""
    found: list[str] = []
    protocol_of = event_stream.protocol_of

    def noted(upstream: str, body: Any) -> Any:
        protocol = protocol_of(upstream, body)
        if protocol is not None:
            found.append(upstream.partition("/")[0])
        return protocol

    monkeypatch.setattr("aisaas.adapters.litellm_model.protocol_of", noted)
    return found


ANSWERS: dict[str, Answer] = {
    "an answer": [*says("Yes", ", ", "naïve 日本 🙂", "."), *ends()],
    "with thinking": [*thinks("Let me ", "see."), *says("Yes."), *ends(thinking=7)],
    "with thinking under its other name": [
        chunk({"reasoning": "Let me "}),
        chunk({"reasoning": "see."}),
        *says("Yes."),
        *ends(),
    ],
    "with its usage in each chunk": [
        chunk({"content": "Yes"}, usage={"prompt_tokens": 4, "completion_tokens": 1}),
        chunk({"content": "."}, usage={"prompt_tokens": 4, "completion_tokens": 2}),
        *ends(prompt=4, completion=3),
    ],
    "with fields beside the text": [
        chunk({"role": "assistant", "content": "Yes", "tool_calls": None, "annotations": []}),
        chunk({"content": "."}, system_fingerprint="fp", service_tier="default"),
        *ends(),
    ],
    "with a choice that has none": [chunk({}, choices=[]), *says("Yes."), *ends()],
    "at its limit": [*says("So "), *ends("length")],
    "filtered": [*says("So "), *ends("content_filter")],
    "cut": says("So "),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_answer_is_read_as_the_wrapper_reads_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = await read("openai", ANSWERS[kind])
    through_the_wrapper(monkeypatch)
    wrapped = await read("openai", ANSWERS[kind])
    assert joined(direct[0]) == joined(wrapped[0])
    assert direct[1] == wrapped[1]


@pytest.mark.parametrize("vendor", OPENAI)
async def test_each_vendor_is_read_from_the_wire_as_the_wrapper_reads_it(
    vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "reasoning" if vendor == "openrouter" else "reasoning_content"
    answer = [chunk({name: "Hm."}), *says("Yes", "."), *ends(thinking=3)]
    read_here = reading_from_the_wire(monkeypatch)
    direct = await read(vendor, answer)
    assert read_here == [vendor]
    through_the_wrapper(monkeypatch)
    wrapped = await read(vendor, answer)
    assert read_here == [vendor]
    assert joined(direct[0]) == joined(wrapped[0])
    assert joined(direct[0])[1] == "Yes."
    assert direct[1] is wrapped[1] is None


async def test_anthropic_is_read_from_the_wire_as_the_wrapper_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = [
        anthropic_starts(),
        *anthropic_hides(),
        *anthropic_thinks("Let me ", "see."),
        *anthropic_says("Yes", "."),
        *anthropic_ends("max_tokens"),
    ]
    read_here = reading_from_the_wire(monkeypatch)
    direct = await read("anthropic", answer)
    assert read_here == ["anthropic"]
    through_the_wrapper(monkeypatch)
    wrapped = await read("anthropic", answer)
    assert joined(direct[0]) == joined(wrapped[0])
    assert joined(direct[0])[1] == "Yes."


async def test_thinking_in_a_list_of_parts_is_thinking() -> None:
    """Mistral's thinking models."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    answer = [chunk({"content": [thought]}), *says("Yes."), *ends()]
    assert joined((await read("mistral", answer))[0])[:2] == ("Hm.", "Yes.")


ERRORS: dict[str, tuple[str, bytes]] = {
    "openai": (
        "openai",
        b'data: {"error": {"message": "overloaded", "type": "server_error", "code": 503}}\n\n',
    ),
    "anthropic": (
        "anthropic",
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error",'
        b' "message": "Overloaded"}}\n\n',
    ),
}


@pytest.mark.parametrize("kind", ERRORS)
async def test_error_in_the_middle_keeps_what_came_and_is_no_finish(kind: str) -> None:
    vendor, error = ERRORS[kind]
    before = says("So ") if vendor == "openai" else [anthropic_starts(), *anthropic_says("So ")]
    chunks, ended = await read(vendor, [*before, error])
    assert joined(chunks)[1] == "So "
    assert joined(chunks)[3] == ""
    assert ended is not None


FORMS: dict[str, bytes] = {
    "carriage returns": b"".join([*says("Yes", "."), *ends()]).replace(b"\n", b"\r\n"),
    "comments and other fields": b": hi\n\nid: 1\nretry: 5\nevent: message\n"
    + b"\n: hi\n".join([*says("Yes", "."), *ends()]),
    "no space after the colon": b"".join([*says("Yes", "."), *ends()]).replace(b"data: ", b"data:"),
    "no empty lines": b"".join([*says("Yes", "."), *ends()]).replace(b"\n\n", b"\n"),
    "an event in several lines": b"".join([*says("Yes", "."), *ends()]).replace(
        b', "choices"', b',\ndata: "choices"'
    ),
    "no end of the last line": b"".join([*says("Yes", "."), usage(40, 9), finish()]).rstrip(),
    "more after its end": b"".join([*says("Yes", "."), *ends(), *says(" And?")]),
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("form", FORMS)
async def test_form_of_a_stream_does_not_matter(form: str, size: int) -> None:
    whole = FORMS[form]
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    chunks, error = await read("openai", parts)
    assert error is None
    assert joined(chunks) == ("", "Yes.", [Usage(40, 9)], "stop")


async def test_answer_that_says_its_end_and_stays_open_is_complete() -> None:
    chunks, error = await read("openai", [*says("Yes."), *ends(), HANG])
    assert error is None
    assert joined(chunks) == ("", "Yes.", [Usage(40, 9)], "stop")


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b'{"choices": [{"delta": {"content": "x"', b"7", b'"words"', b"null"],
    ids=["nested", "broken", "a number", "words", "null"],
)
async def test_data_that_is_no_event_ends_the_answer_and_keeps_what_came(data: bytes) -> None:
    chunks, error = await read("openai", [*says("So "), b"data: " + data + b"\n\n", *says("on")])
    assert (joined(chunks)[1], error) == ("So ", "rubbish")


async def test_usage_that_cannot_be_read_costs_nothing_but_itself() -> None:
    broken = chunk({"content": "Yes."}, usage={"prompt_tokens": "many", "completion_tokens": None})
    chunks, error = await read("openai", [broken, finish(), DONE])
    assert error is None
    assert joined(chunks) == ("", "Yes.", [], "stop")


class _Body:
    """As `Body` says of an answer."""

    def __init__(self, path: str, *, is_event_stream: bool = True) -> None:
        self.path = path
        self.is_event_stream = is_event_stream


@pytest.mark.parametrize(
    ("upstream", "path", "protocol"),
    [
        ("openai/gpt-6", "/v1/chat/completions", "openai"),
        ("azure/mine", "/openai/deployments/mine/chat/completions", "openai"),
        ("anthropic/claude", "/v1/messages", "anthropic"),
        # Another protocol, another vendor's, or nobody's.
        ("openai/gpt-6", "/v1/responses", None),
        ("vertex_ai/claude", "/v1/messages", None),
        ("bedrock/claude", "/model/claude/converse-stream", None),
        ("fireworks_ai/some", "/v1/chat/completions", None),
        ("unknown", "/v1/chat/completions", None),
    ],
)
def test_protocol_is_known_by_vendor_and_path(
    upstream: str, path: str, protocol: str | None
) -> None:
    body: Any = _Body(path)
    assert event_stream.protocol_of(upstream, body) == protocol
    other: Any = _Body(path, is_event_stream=False)
    assert event_stream.protocol_of(upstream, other) is None
    assert event_stream.protocol_of(upstream, None) is None
