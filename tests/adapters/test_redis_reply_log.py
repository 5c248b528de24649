"""The reply log's contract: what was appended is what is read, from anywhere, in any cutting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from aisaas.adapters.redis_reply_log import RedisReplyLog
from aisaas.chat.ports import LogEntry, LoggedReply, LogWrite
from aisaas.errors import DependencyError
from aisaas.language_models import Usage
from devstack.stack import Stack
from tests.parts import Outage, answered, outage

HANGS_SECONDS = 30
# Characters of one to four bytes, some of several characters; nothing may be cut within one.
SPEECH = "Plain, ümläut, 漢字, 👩‍👩‍👧‍👦🇫🇷, \x00 and \r\n, `$x$`. "


@pytest.fixture
def message_id() -> UUID:
    return uuid4()


def _cut(text: str, dice: random.Random) -> list[LogEntry]:
    """Consecutive entries of one to nine characters."""
    entries: list[LogEntry] = []
    offset = 0
    while offset < len(text):
        piece = text[offset : offset + dice.randint(1, 9)]
        entries.append(LogEntry(offset, piece))
        offset += len(piece)
    return entries


async def _append(log: RedisReplyLog, log_id: UUID, entries: Sequence[LogEntry]) -> bool:
    """Whether the log is whole afterwards; without entries it is only checked."""
    writes = [LogWrite(log_id, entry) for entry in entries] or [LogWrite(log_id)]
    return (await log.write(writes))[-1]


async def _note(
    log: RedisReplyLog, log_id: UUID, *, model: str | None = None, usage: Usage | None = None
) -> None:
    await log.write([LogWrite(log_id, None, model, usage)])


async def _followed(log: RedisReplyLog, message_id: UUID, offset: int) -> str:
    """What a follower from `offset` gets, in one piece and without a gap."""
    text = ""
    async for entry in log.follow(message_id, offset):
        assert entry.offset == offset + len(text)
        assert entry.text
        text += entry.text
    return text


async def test_unknown_reply_is_nothing(reply_log: RedisReplyLog, message_id: UUID) -> None:
    assert await reply_log.read(message_id) is None


@pytest.mark.parametrize("seed", range(8))
async def test_text_cut_anywhere_comes_back_whole(
    seed: int, reply_log: RedisReplyLog, message_id: UUID
) -> None:
    dice = random.Random(seed)
    text = SPEECH * 4
    for entry in _cut(text, dice):
        await _append(reply_log, message_id, [entry])
    assert await reply_log.read(message_id) == LoggedReply(text, None, None, closed=False)
    await reply_log.close(message_id)
    assert await reply_log.read(message_id) == LoggedReply(text, None, None, closed=True)
    for offset in (0, 1, dice.randrange(len(text)), len(text) - 1, len(text)):
        assert await _followed(reply_log, message_id, offset) == text[offset:]


@pytest.mark.parametrize("seed", range(8))
async def test_entries_that_were_sent_again_are_read_once(
    seed: int, reply_log: RedisReplyLog, message_id: UUID
) -> None:
    """An append whose answer got lost is sent again, longer by what came meanwhile."""
    dice = random.Random(seed)
    text = SPEECH * 2
    for entry in _cut(text, dice):
        again = max(entry.offset - dice.randint(0, 12), 0)
        for start in (again, entry.offset):
            await _append(
                reply_log,
                message_id,
                [LogEntry(start, text[start : entry.offset + len(entry.text)])],
            )
    await reply_log.close(message_id)
    read = await reply_log.read(message_id)
    assert read is not None
    assert read.text == text
    assert await _followed(reply_log, message_id, 0) == text
    assert await _followed(reply_log, message_id, 17) == text[17:]


async def test_followers_get_the_text_as_it_comes_and_end_with_it(
    reply_log: RedisReplyLog, message_id: UUID
) -> None:
    text = SPEECH * 20
    early = [asyncio.create_task(_followed(reply_log, message_id, 0)) for _ in range(5)]
    for entry in _cut(text, random.Random(1)):
        await _append(reply_log, message_id, [entry])
    late = asyncio.create_task(_followed(reply_log, message_id, 40))
    await reply_log.close(message_id)
    assert await asyncio.gather(*early) == [text] * 5
    assert await late == text[40:]


async def test_reply_of_more_entries_than_a_page_is_followed_to_its_end(
    reply_log: RedisReplyLog, message_id: UUID
) -> None:
    entries = [LogEntry(number, chr(97 + number % 26)) for number in range(1300)]
    await _append(reply_log, message_id, entries)
    await reply_log.close(message_id)
    text = "".join(entry.text for entry in entries)
    assert await _followed(reply_log, message_id, 0) == text
    read = await reply_log.read(message_id)
    assert read is not None
    assert read.text == text


async def test_facts_are_kept_beside_the_text(reply_log: RedisReplyLog, message_id: UUID) -> None:
    await _note(reply_log, message_id, model="demo")
    assert await reply_log.read(message_id) == LoggedReply("", "demo", None, closed=False)
    await _note(reply_log, message_id, usage=Usage(12, 0))
    await _append(reply_log, message_id, [LogEntry(0, "Hi")])
    await _note(reply_log, message_id, usage=Usage(12, 34, 5, 6, 4, 3, "us"))
    assert await reply_log.read(message_id) == LoggedReply(
        "Hi", "demo", Usage(12, 34, 5, 6, 4, 3, "us"), closed=False
    )


async def test_several_logs_are_written_at_once_and_each_answers_for_itself(
    reply_log: RedisReplyLog,
) -> None:
    whole, beginning_lost, facts_lost = uuid4(), uuid4(), uuid4()
    usage = Usage(12, 34)
    assert await reply_log.write(
        [
            LogWrite(whole, LogEntry(0, "one"), "demo", usage),
            LogWrite(beginning_lost, LogEntry(3, "two"), "demo"),
            LogWrite(facts_lost, LogEntry(0, "three")),
        ]
    ) == [True, False, False]
    assert await reply_log.read(whole) == LoggedReply("one", "demo", usage, closed=False)
    assert await reply_log.write(
        [
            LogWrite(whole),
            LogWrite(beginning_lost, LogEntry(0, "but two")),
            LogWrite(facts_lost, None, "demo"),
        ]
    ) == [True, True, True]
    assert await reply_log.read(beginning_lost) == LoggedReply("but two", "demo", None, False)
    assert await reply_log.read(facts_lost) == LoggedReply("three", "demo", None, False)


async def test_replies_do_not_mix(reply_log: RedisReplyLog) -> None:
    first, second = uuid4(), uuid4()
    await _append(reply_log, first, [LogEntry(0, "one")])
    await _append(reply_log, second, [LogEntry(0, "two")])
    await reply_log.close(first)
    assert await reply_log.read(first) == LoggedReply("one", None, None, closed=True)
    assert await reply_log.read(second) == LoggedReply("two", None, None, closed=False)


async def test_text_is_kept_for_an_hour_at_most_and_shorter_once_it_is_over(
    reply_log: RedisReplyLog, probe: Redis, prefix: str, message_id: UUID
) -> None:
    await _append(reply_log, message_id, [LogEntry(0, "Hi")])
    await _note(reply_log, message_id, model="demo")

    async def longest() -> int:
        keys = [key async for key in probe.scan_iter(f"{prefix}:*")]
        assert len(keys) == 2
        kept = [await probe.ttl(key) for key in keys]
        assert min(kept) > 0
        return max(kept)

    assert await longest() <= 3600
    await reply_log.close(message_id)
    assert await longest() <= 120


async def test_what_is_forgotten_is_gone_with_its_facts_and_its_end(
    reply_log: RedisReplyLog, message_id: UUID
) -> None:
    await _note(reply_log, message_id, model="demo", usage=Usage(9, 9))
    await _append(reply_log, message_id, [LogEntry(0, "before")])
    await reply_log.close(message_id)
    await reply_log.forget(message_id)
    assert await reply_log.read(message_id) is None
    await _note(reply_log, message_id, model="demo")
    assert await _append(reply_log, message_id, [LogEntry(0, "anew")])
    assert await reply_log.read(message_id) == LoggedReply("anew", "demo", None, closed=False)


@pytest.mark.usefixtures("real_deadlines")
@pytest.mark.parametrize("kind", ["stopped", "paused"])
async def test_outage_is_reported_and_what_was_logged_before_is_still_there(
    kind: Outage, reply_log: RedisReplyLog, message_id: UUID, spare_stack: Stack
) -> None:
    await answered(lambda: _append(reply_log, message_id, [LogEntry(0, "before ")]))
    with outage(spare_stack, "valkey", kind):
        async with asyncio.timeout(HANGS_SECONDS):
            answers = await asyncio.gather(
                _append(reply_log, message_id, [LogEntry(7, "during ")]),
                _note(reply_log, message_id, model="demo"),
                reply_log.read(message_id),
                reply_log.close(uuid4()),
                return_exceptions=True,
            )
        assert {type(answer) for answer in answers} == {DependencyError}
    # A failed append is sent again, with what came meanwhile.
    await answered(lambda: _append(reply_log, message_id, [LogEntry(7, "during and after")]))
    read = await answered(lambda: reply_log.read(message_id))
    assert read is not None
    assert read.text == "before during and after"


async def test_follower_hears_of_an_outage(
    reply_log: RedisReplyLog, message_id: UUID, spare_stack: Stack
) -> None:
    await _append(reply_log, message_id, [LogEntry(0, "Hi")])
    following = reply_log.follow(message_id, 0)
    assert await anext(aiter(following)) == LogEntry(0, "Hi")
    with (
        outage(spare_stack, "valkey", "stopped"),
        pytest.raises(DependencyError),
    ):
        await anext(aiter(following))


async def test_log_that_lost_its_beginning_says_so_and_shows_nothing_behind_the_gap(
    reply_log: RedisReplyLog, probe: Redis, prefix: str, message_id: UUID
) -> None:
    await _note(reply_log, message_id, model="demo")
    assert await _append(reply_log, message_id, [LogEntry(0, "So it ")])
    assert await _append(reply_log, message_id, [])
    async for key in probe.scan_iter(f"{prefix}:*"):
        await probe.delete(key)
    assert not await _append(reply_log, message_id, [])
    assert not await _append(reply_log, message_id, [LogEntry(6, "goes on")])
    read = await reply_log.read(message_id)
    assert read is not None
    # What would be shown has no beginning.
    assert read.text == ""
    # Text alone is not enough: which model answered decides about the price.
    assert not await _append(reply_log, message_id, [LogEntry(0, "So it goes on")])
    await _note(reply_log, message_id, model="demo")
    # From here on it is whole, and is added to as before.
    assert await _append(reply_log, message_id, [LogEntry(13, ".")])
    await reply_log.close(message_id)
    read = await reply_log.read(message_id)
    assert read is not None
    assert (read.text, read.model) == ("So it goes on.", "demo")
    # A follower who was there before misses nothing, and hears nothing twice.
    for offset in (0, 3, 6, 13, 14):
        assert await _followed(reply_log, message_id, offset) == "So it goes on."[offset:]


async def test_what_comes_behind_a_gap_is_left_out(
    reply_log: RedisReplyLog, message_id: UUID
) -> None:
    await _append(
        reply_log, message_id, [LogEntry(0, "one "), LogEntry(8, "three"), LogEntry(2, "e")]
    )
    read = await reply_log.read(message_id)
    assert read is not None
    assert read.text == "one "
