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
from aisaas.chat.ports import LogEntry, LoggedReply
from aisaas.errors import DependencyError
from aisaas.language_models import Usage

KEEP_RUNNING_SECONDS = 3600
# Followers in other processes still read the end for a while.
KEEP_CLOSED_SECONDS = 120
BLOCK_MS = 5000
PAGE = 500


class RedisReplyLog:
    """Implements `chat.ports.ReplyLog`."""

    def __init__(self, redis: Redis, listening: Redis, *, prefix: str) -> None:
        self._redis = redis
        self._listening = listening
        self._prefix = prefix

    async def append(self, message_id: UUID, entries: Sequence[LogEntry]) -> bool:
        stream = self._stream(message_id)
        async with bounded(), self._redis.pipeline(transaction=True) as pipe:
            for entry in entries:
                # An entry at the start has the whole reply so far: it replaces all earlier ones.
                begins = 1 if entry.offset == 0 else None
                pipe.xadd(
                    stream,
                    {"o": entry.offset, "t": entry.text},
                    maxlen=begins,
                    approximate=False,
                )
            pipe.expire(stream, KEEP_RUNNING_SECONDS)
            # Its result shows whether the facts exist.
            pipe.expire(self._facts(message_id), KEEP_RUNNING_SECONDS)
            pipe.xrange(stream, count=1)
            answers: Any = await pipe.execute()
        *_, facts, first = answers
        # Nothing else trims the start of a stream: if it is missing, all earlier data is gone.
        return bool(facts) and bool(first) and first[0][1].get(b"o") == b"0"

    async def note(
        self, message_id: UUID, *, model: str | None = None, usage: Usage | None = None
    ) -> None:
        facts: dict[str, str | int] = {}
        if model is not None:
            facts["model"] = model
        if usage is not None:
            facts |= {
                "prompt": usage.prompt_tokens,
                "completion": usage.completion_tokens,
                "cached": usage.cached_prompt_tokens,
                "thinking": usage.thinking_tokens,
                "cache_write": usage.cache_write_tokens,
                "cache_write_1h": usage.cache_write_1h_tokens,
                "region": usage.region,
            }
        key = self._facts(message_id)
        async with bounded(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=facts)
            pipe.expire(key, KEEP_RUNNING_SECONDS)
            await pipe.execute()

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
