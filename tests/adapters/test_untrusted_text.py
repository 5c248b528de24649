"""Whatever a provider puts in its answer, what comes through the door can be stored."""

from __future__ import annotations

import json

import pytest

from aisaas.chat.ports import Chunk, Finish, Text
from aisaas.language_models import Usage
from tests.adapters.test_rubbish import event, read, usage

pytestmark = pytest.mark.usefixtures("lane")

DONE = b"data: [DONE]\n\n"
FINISH = event({}, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
SPLIT = {
    "NUL": (["a\x00b", "\x00", "c"], "abc"),
    "a pair in two chunks": (["a\ud83d", "\ude00b"], "a😀b"),
    "a pair with a NUL between": (["\ud83d", "\x00", "\ude00"], "😀"),
    "a half alone": (["a\ud83db"], "a\ufffdb"),
    "a half at the end": (["a", "\ud83d"], "a\ufffd"),
    "two firsts": (["\ud83d", "\ud83d\ude00"], "\ufffd😀"),
    "a second at the beginning": (["\ude00a"], "\ufffda"),
}


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


@pytest.mark.parametrize("kind", SPLIT)
async def test_text_comes_through_storable_and_finished(kind: str) -> None:
    pieces, expected = SPLIT[kind]
    parts = [event({"content": piece}) for piece in pieces]
    chunks, error = await read(iter([*parts, FINISH, usage(40, 9), DONE]))
    assert (text_of(chunks), error) == (expected, None)
    for chunk in chunks:
        if isinstance(chunk, Text):
            chunk.text.encode()
    assert Usage(40, 9) in chunks
    assert Finish("stop") in chunks


@pytest.mark.parametrize(
    "more",
    [
        {"model": "m\x00\ud83d"},
        {"id": "\x00\ud83d"},
        {"system_fingerprint": "\ud83d\x00"},
        {"choices": [{"index": 0, "delta": {"content": "so far", "role": "\ud83d\x00"}}]},
        {"choices": [{"index": 0, "delta": {"content": "so far"}, "finish_reason": "\x00\ud83d"}]},
    ],
    ids=["model", "id", "fingerprint", "role", "finish reason"],
)
async def test_other_fields_do_not_cost_the_text(more: dict[str, object]) -> None:
    chunks, error = await read(iter([event({"content": "so far"}, **more), FINISH, DONE]))
    assert (text_of(chunks), error) == ("so far", None)


@pytest.mark.parametrize(
    "counts",
    [
        b'{"prompt_tokens": NaN, "completion_tokens": 9, "total_tokens": 9}',
        b'{"prompt_tokens": 1e400, "completion_tokens": -1e400, "total_tokens": 9}',
        b'{"prompt_tokens": -1, "completion_tokens": 9, "total_tokens": 8}',
        b'{"prompt_tokens": "40", "completion_tokens": "9", "total_tokens": "49"}',
        b'{"prompt_tokens": null, "completion_tokens": null, "total_tokens": null}',
        b'{"prompt_tokens": {}, "completion_tokens": [], "total_tokens": "\\u0000"}',
        b'"a lot"',
        json.dumps({"prompt_tokens": 10**30, "completion_tokens": 10**30}).encode(),
    ],
)
async def test_absurd_usage_costs_neither_the_text_nor_an_absurd_bill(counts: bytes) -> None:
    absurd = event({}, choices=[], usage="USAGE").replace(b'"USAGE"', counts)
    chunks, _ = await read(iter([event({"content": "so far"}), FINISH, absurd, DONE]))
    assert text_of(chunks) == "so far"
    for chunk in chunks:
        if isinstance(chunk, Usage):
            assert 0 <= chunk.prompt_tokens <= 10_000_000
            assert 0 <= chunk.completion_tokens <= 10_000_000
