# pyright: standard
"""Running replies in Redis streams: an entry is (offset, text), facts are in a hash beside it.

Another process settles a reply from the log when the one that ran it is gone, and followers in other
processes read it. It holds text for at most an hour.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from aisaas.adapters.redis_client import bounded
from aisaas.chat.ports import LogEntry, LoggedReply, LogWrite
from aisaas.errors import DependencyError
from aisaas.language_models import Usage

KEEP_RUNNING_SECONDS = 3600
# Followers in other processes still read the end for a while.
KEEP_CLOSED_SECONDS = 120
BLOCK_MS = 5000
PAGE = 500


# All texts of a tick in one command. KEYS: a stream and its facts for each log. ARGV: the seconds they
# are kept; then of each log the text's offset (-1 without text), the text, the number of the parts of
# its facts, and those.
# Returns 1 for each log that is whole: it has facts, and its first entry is the text's beginning.
WRITE = """
local at, whole = 2, {}
for index = 1, #KEYS, 2 do
  local stream, facts = KEYS[index], KEYS[index + 1]
  local offset, text, parts = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  at = at + 3
  if parts > 0 then
    redis.call('HSET', facts, unpack(ARGV, at, at + parts - 1))
    at = at + parts
  end
  if offset == '0' then
    -- It has all of the text so far and replaces what came earlier.
    redis.call('XADD', stream, 'MAXLEN', 1, '*', 'o', offset, 't', text)
  elseif offset ~= '-1' then
    redis.call('XADD', stream, '*', 'o', offset, 't', text)
  end
  redis.call('EXPIRE', stream, ARGV[1])
  local has_facts = redis.call('EXPIRE', facts, ARGV[1]) == 1
  -- Nothing else trims the start of a stream: if it is missing, all earlier data is gone.
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  whole[#whole + 1] = (has_facts and first and first[2][2] == '0') and 1 or 0
end
return whole
"""


class RedisReplyLog:
    """Implements `chat.ports.ReplyLog`."""

    def __init__(self, redis: Redis, listening: Redis, *, prefix: str) -> None:
        self._redis = redis
        self._listening = listening
        self._prefix = prefix
        self._add = redis.register_script(WRITE)

    async def write(self, writes: Sequence[LogWrite]) -> Sequence[bool]:
        keys: list[str] = []
        args: list[str | int] = []
        for each in writes:
            keys += (self._stream(each.log_id), self._facts(each.log_id))
            facts = [part for pair in _facts(each).items() for part in pair]
            offset, text = (each.text.offset, each.text.text) if each.text else (-1, "")
            args += (offset, text, len(facts), *facts)
        async with bounded():
            answers: Any = await self._add(keys=keys, args=[KEEP_RUNNING_SECONDS, *args])
        return [answer == 1 for answer in answers]

    async def read(self, message_id: UUID) -> LoggedReply | None:
        async with bounded():
            entries: Any = await self._redis.xrange(self._stream(message_id))
            facts: Any = await self._redis.hgetall(self._facts(message_id))  # pyright: ignore[reportGeneralTypeIssues]
        if not entries and not facts:
            return None
        text = _whole([_entry(fields) for _, fields in entries])
        found = {key.decode(): value.decode() for key, value in facts.items()}
        usage = None
        if "prompt" in found:
            usage = Usage(
                prompt_tokens=int(found["prompt"]),
                completion_tokens=int(found["completion"]),
                cached_prompt_tokens=int(found["cached"]),
                # The previous release doesn't write these.
                thinking_tokens=int(found.get("thinking", "0")),
                cache_write_tokens=int(found.get("cache_write", "0")),
                cache_write_1h_tokens=int(found.get("cache_write_1h", "0")),
                region=found.get("region", ""),
            )
        closed = bool(entries) and b"end" in entries[-1][1]
        return LoggedReply(text=text, model=found.get("model"), usage=usage, closed=closed)

    async def follow(self, message_id: UUID, offset: int) -> AsyncIterator[LogEntry]:
        last = "0-0"
        stream = self._stream(message_id)
        while True:
            try:
                answer: Any = await self._listening.xread(
                    {stream: last}, count=PAGE, block=BLOCK_MS
                )
            except (RedisError, OSError, TimeoutError) as error:
                raise DependencyError("redis") from error
            if not answer:
                # No data for a while: the follower checks whether the reply still runs.
                return
            for entry_id, fields in answer[0][1]:
                last = entry_id
                if b"end" in fields:
                    return
                entry = _entry(fields)
                end = entry.offset + len(entry.text)
                # Text after a gap is sent again with the lost text, see `append`.
                if entry.offset <= offset < end:
                    start = max(entry.offset, offset)
                    yield LogEntry(start, entry.text[start - entry.offset :])
                    offset = end

    async def forget(self, message_id: UUID) -> None:
        async with bounded():
            await self._redis.delete(self._stream(message_id), self._facts(message_id))

    async def close(self, message_id: UUID) -> None:
        stream = self._stream(message_id)
        async with bounded(), self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(stream, {"end": 1})
            pipe.expire(stream, KEEP_CLOSED_SECONDS)
            pipe.expire(self._facts(message_id), KEEP_CLOSED_SECONDS)
            await pipe.execute()

    def _stream(self, message_id: UUID) -> str:
        return f"{self._prefix}:reply:{{{message_id}}}:text"

    def _facts(self, message_id: UUID) -> str:
        return f"{self._prefix}:reply:{{{message_id}}}:facts"


def _facts(write: LogWrite) -> dict[str, str | int]:
    facts: dict[str, str | int] = {}
    if write.model is not None:
        facts["model"] = write.model
    if (usage := write.usage) is not None:
        facts |= {
            "prompt": usage.prompt_tokens,
            "completion": usage.completion_tokens,
            "cached": usage.cached_prompt_tokens,
            "thinking": usage.thinking_tokens,
            "cache_write": usage.cache_write_tokens,
            "cache_write_1h": usage.cache_write_1h_tokens,
            "region": usage.region,
        }
    return facts


def _entry(fields: dict[bytes, bytes]) -> LogEntry:
    if b"t" not in fields:
        return LogEntry(0, "")
    return LogEntry(int(fields[b"o"]), fields[b"t"].decode(errors="replace"))


def _whole(entries: Sequence[LogEntry]) -> str:
    """The text up to the first gap. An append whose response was lost is sent again, so entries may
    overlap; after a loss they start again from the beginning."""
    text = ""
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset > len(text):
            break
        text += entry.text[len(text) - entry.offset :]
    return text
