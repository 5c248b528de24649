"""A reply on the wire: whole, in order, and no dearer than eight times its size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from aisaas.chat.models import Segment
from aisaas.chat.reply import FLUSH_SECONDS
from aisaas.ui.chat.stream import PACE, Outbox, Tail, relay

# As long as the demo model's tokens are on average.
TOKEN = "wor"
REPLY_TOKENS = 4000
BUDGET = 8
# What else a reply puts on the wire: the question, its receipt, the allowance, the list, a title.
AROUND = 6000


def frame(window: Segment) -> int:
    """Bytes of the Socket.IO frame that carries a window."""
    state = Tail.get_full_name()
    delta = {state: {"s_rx_state_": ["0123abcd", window.offset, window.text]}}
    return len(f"42/_event,{json.dumps(['event', {'delta': delta}], separators=(',', ':'))}")


def replay(tokens_per_second: float) -> tuple[list[Segment], float]:
    """The windows of a long reply at a steady pace, on a clock of our own; and the longest lag.

    Text becomes visible every FLUSH_SECONDS, as replies make it.
    """
    outbox, windows, lag = Outbox(0), [], 0.0
    now, told, oldest = 0.0, 0, None
    while told < REPLY_TOKENS:
        now += FLUSH_SECONDS
        come = min(int(now * tokens_per_second) + 1, REPLY_TOKENS)
        if come > told and oldest is None:
            oldest = told / tokens_per_second
        outbox.put(Segment(told * len(TOKEN), TOKEN * (come - told)), now)
        told = come
        wait = outbox.due_in(now, fresh=True)
        if wait is not None and wait < FLUSH_SECONDS:
            windows.append(outbox.take(now + wait))
            assert oldest is not None
            lag, oldest = max(lag, now + wait - oldest), None
    if not outbox.empty:
        windows.append(outbox.take(now))
    return windows, lag


def joined(windows: list[Segment]) -> str:
    """What the browser holds after merging by offset."""
    text = ""
    for window in windows:
        assert window.offset <= len(text), "a gap although nothing was dropped"
        text += window.text[len(text) - window.offset :]
    return text


@pytest.mark.parametrize("pace", [8, 12, 20, 35, 50, 80, 120, 200, 1000, 100_000])
def test_a_long_reply_costs_at_most_eight_times_its_size(pace: float) -> None:
    windows, _ = replay(pace)
    reply = TOKEN * REPLY_TOKENS
    assert joined(windows) == reply
    assert sum(map(frame, windows)) + AROUND <= BUDGET * len(reply)


@pytest.mark.parametrize("pace", [50, 80, 200, 1000])
def test_text_arrives_within_a_fifth_of_a_second(pace: float) -> None:
    _, lag = replay(pace)
    assert lag <= 0.2


def test_a_loaded_event_loop_gets_rarer_and_larger_frames() -> None:
    outbox = Outbox(0)
    outbox.put(Segment(0, "H"), 0.0)
    outbox.take(0.0)
    outbox.slow_down(0.1)
    outbox.put(Segment(1, "e" * 100), 0.01)
    assert outbox.due_in(0.4, fresh=True) == 0.0
    assert outbox.due_in(0.39, fresh=True) not in {None, 0.0}
    for _ in range(20):
        outbox.slow_down(0.001)
    assert outbox.due_in(PACE.gap, fresh=True) == 0.0


def test_a_frame_waits_a_little_for_text_that_is_about_to_come() -> None:
    outbox = Outbox(0)
    outbox.put(Segment(0, "H"), 0.0)
    outbox.take(0.0)
    outbox.put(Segment(1, "e" * 100), 0.01)
    assert outbox.due_in(PACE.gap) == pytest.approx(PACE.grace)
    assert outbox.due_in(PACE.gap + PACE.grace + 0.001) == 0.0


def test_the_first_words_do_not_wait() -> None:
    outbox = Outbox(0)
    outbox.put(Segment(0, "H"), 10.0)
    assert outbox.due_in(10.0) == 0.0


def test_overlapping_segments_are_taken_once() -> None:
    outbox = Outbox(3)
    outbox.put(Segment(0, "abcdef"), 0.0)
    outbox.put(Segment(4, "efgh"), 0.0)
    assert outbox.take(0.0) == Segment(3, "defgh")


def test_a_hole_is_left_for_the_browser_to_ask_about() -> None:
    outbox = Outbox(0)
    outbox.put(Segment(0, "abc"), 0.0)
    outbox.take(0.0)
    outbox.put(Segment(10, "klm"), 0.1)
    assert outbox.take(0.1) == Segment(10, "klm")


async def spoken(*texts: str, then: BaseException | None = None) -> AsyncIterator[Segment]:
    offset = 0
    for text in texts:
        await asyncio.sleep(0.001)
        yield Segment(offset, text)
        offset += len(text)
    if then is not None:
        raise then


async def test_relay_sends_everything_and_ends() -> None:
    windows: list[Segment] = []

    async def send(window: Segment) -> None:
        windows.append(window)

    await relay(spoken("Hello", ", ", "world"), send)
    assert joined(windows) == "Hello, world"


async def test_relay_ends_when_nobody_listens_any_more() -> None:
    async def forever() -> AsyncIterator[Segment]:
        yield Segment(0, "a")
        await asyncio.Event().wait()

    listening = iter([True, False])

    async def send(_: Segment) -> None: ...

    async with asyncio.timeout(60):
        await relay(forever(), send, wanted=lambda: next(listening, False))


async def test_what_came_is_sent_before_a_failure_is_raised() -> None:
    windows: list[Segment] = []

    async def send(window: Segment) -> None:
        windows.append(window)

    with pytest.raises(ConnectionError):
        await relay(spoken("so far", then=ConnectionError()), send)
    assert joined(windows) == "so far"
