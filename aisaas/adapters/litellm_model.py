"""The one door to model providers, through LiteLLM.

LiteLLM takes seconds and 170 MB to import, so it is imported in a thread, once, when it is first
needed or warmed. Prices are read from the map inside the installed package, without importing it:
they change with a pinned version, never over the network.

Measured on LiteLLM 1.106.2: a stream which its upstream closes without a finish reason is reported
as finished, with invented usage. So finish reasons and usage are taken from what the provider
really sent (`received_finish_reason`, `chunks`), not from the synthetic closing chunk.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import httpx

from aisaas.errors import ProviderError
from aisaas.observe.calls import provider_call
from aisaas.ports import Admitted, Chunk, Finish, Model, Price, Text, Usage
from aisaas.settings import Settings
from aisaas.text_cleaning import StreamCleaner

log = logging.getLogger(__name__)

MILLION = Decimal(1_000_000)
CONNECT_AND_READ_SECONDS = 600.0
# No model has a window as large as that.
MAX_TOKENS = 10_000_000
# A completion of 128,000 tokens, each in a chunk of its own, is 40 MB.
MAX_BODY_BYTES = 64_000_000
MAX_LINE_BYTES = 1_000_000
TOKEN_ENCODING = "o200k_base"  # noqa: S105


def _package_dir() -> Path:
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("litellm is not installed")
    return Path(spec.submodule_search_locations[0])


@cache
def _price_map() -> Mapping[str, Mapping[str, Any]]:
    path = _package_dir() / "model_prices_and_context_window_backup.json"
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def _encoding() -> Any:
    # LiteLLM ships the tokenizer's tables; without them the tokenizer would fetch them.
    os.environ.setdefault(
        "TIKTOKEN_CACHE_DIR", str(_package_dir() / "litellm_core_utils" / "tokenizers")
    )
    tiktoken = importlib.import_module("tiktoken")
    return tiktoken.get_encoding(TOKEN_ENCODING)


# Two threads that import it at once, each meet the half of the other.
_importing = threading.Lock()


def _import_litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Else it puts all of `.env` into our environment, and so into that of every child.
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    with _importing:
        litellm: Any = importlib.import_module("litellm")
        _bound_every_answer()
    litellm.telemetry = False
    # It would end a reply at the hundredth equal chunk, and rules and borders of tables are that.
    # What a reply may be at most is bounded by its grant.
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = sys.maxsize
    # Else a model whose name has `llama-3` has it ask a model hub for a tokenizer, on the event loop.
    litellm.disable_hf_tokenizer_download = True
    litellm.suppress_debug_info = True
    # Its loggers print prompts and headers at lower levels.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
        # And what is left goes the way of all lines.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    _encoding()
    return litellm


def _in_background(work: Callable[[], Any]) -> Future[Any]:
    """In a thread that nobody waits for: an executor's would hold up the end of the process until the
    import is through, which on a busy machine takes half a minute."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whoever waits for it gets it
            future.set_exception(error)

    threading.Thread(target=run, name="import of litellm", daemon=True).start()
    return future


class LiteLLMModel:
    """Implements `ports.LanguageModel`."""

    def __init__(self, settings: Settings) -> None:
        self._loading: Future[Any] | None = None
        self._access: dict[str, dict[str, str]] = _access(settings)

    async def warm(self) -> None:
        """Import LiteLLM now, off the event loop, so that the first user doesn't wait for it."""
        if self._loading is None:
            self._loading = _in_background(_import_litellm)
        await asyncio.shield(asyncio.wrap_future(self._loading))

    def price_of(self, upstream: str) -> Price | None:
        prices = _price_map()
        entry = prices.get(upstream) or prices.get(upstream.partition("/")[2])
        if entry is None:
            return None
        into, out = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
        if into is None or out is None:
            return None
        cached = entry.get("cache_read_input_token_cost", into)
        return Price(
            input_usd=Decimal(str(into)) * MILLION,
            output_usd=Decimal(str(out)) * MILLION,
            cached_input_usd=Decimal(str(cached)) * MILLION,
            version=f"litellm-{version('litellm')}",
        )

    def count_tokens(self, text: str) -> int:
        return len(_encoding().encode_ordinary(text))

    async def stream(self, admitted: Admitted, model: Model) -> AsyncGenerator[Chunk]:
        if model not in admitted.models:
            raise ValueError(f"{model.id} was not admitted")
        await self.warm()
        assert self._loading is not None
        litellm = self._loading.result()
        with provider_call(model.provider, model.id) as call:
            async with aclosing(self._call(litellm, admitted, model)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Text):
                        call.text_came()
                    yield chunk

    async def _call(self, litellm: Any, admitted: Admitted, model: Model) -> AsyncGenerator[Chunk]:
        try:
            upstream: Any = await litellm.acompletion(
                model=model.upstream,
                messages=[{"role": t.speaker, "content": t.text} for t in admitted.prompt],
                max_tokens=min(admitted.max_tokens, model.max_output),
                stream=True,
                stream_options={"include_usage": True},
                timeout=CONNECT_AND_READ_SECONDS,
                # Retries would be calls that no guard saw; falling back is the reply's decision.
                max_retries=0,
                num_retries=0,
                **self._access[model.provider],
            )
            async with aclosing(upstream):
                async for chunk in _read(upstream):
                    yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001
            # The vendor raises dozens of types, some with the prompt in their text: only the type
            # and the status go on.
            status = getattr(error, "status_code", None)
            raise ProviderError(type(error).__name__, f"status {status}") from None


async def _read(upstream: Any) -> AsyncGenerator[Chunk]:
    reported: Usage | None = None
    cleaner = StreamCleaner()
    async for chunk in upstream:
        choices = chunk.choices
        content = choices[0].delta.content if choices else None
        if isinstance(content, str) and (text := cleaner.feed(content)):
            yield Text(text)
        usage = _provider_usage(upstream, reported)
        if usage is not None:
            reported = usage
            yield usage
    if text := cleaner.end():
        yield Text(text)
    usage = _provider_usage(upstream, reported)
    if usage is not None:
        yield usage
    finish = upstream.received_finish_reason or upstream.intermittent_finish_reason
    if finish:
        yield Finish(str(finish))


def _provider_usage(upstream: Any, reported: Usage | None) -> Usage | None:
    """Usage of the newest chunk that carries the provider's own, if it says something new."""
    # The list holds what came from the provider; the closing chunk LiteLLM makes is not in it.
    for chunk in reversed(cast("list[Any]", upstream.chunks[-2:])):
        found = getattr(chunk, "usage", None)
        if found is None:
            continue
        prompt = getattr(found, "prompt_tokens_details", None)
        completion = getattr(found, "completion_tokens_details", None)
        counts = (
            found.prompt_tokens or 0,
            found.completion_tokens or 0,
            getattr(prompt, "cached_tokens", 0) or 0,
            getattr(completion, "reasoning_tokens", 0) or 0,
        )
        if not all(isinstance(n, int) and 0 <= n <= MAX_TOKENS for n in counts):
            # Nonsense is as good as nothing: our own count is used instead.
            log.warning("absurd usage from a provider is ignored")
            continue
        usage = Usage(
            prompt_tokens=counts[0],
            completion_tokens=counts[1],
            cached_prompt_tokens=min(counts[2], counts[0]),
            thinking_tokens=min(counts[3], counts[1]),
        )
        return usage if usage != reported else None
    return None


class _Bounded(httpx.AsyncByteStream):
    """A body that fails when it, or one line of it, is longer than any answer: what parses it
    would keep all of it in memory, and search it again with each part that comes."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = line = 0
        async for part in self._body:
            total += len(part)
            newline = part.rfind(b"\n")
            line = line + len(part) if newline < 0 else len(part) - newline - 1
            if max(total - MAX_BODY_BYTES, line - MAX_LINE_BYTES) > 0:
                raise httpx.ReadError("the answer is longer than any answer is")
            yield part

    async def aclose(self) -> None:
        await self._body.aclose()


class _BoundedTransport(httpx.AsyncBaseTransport):
    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


def _bound_every_answer() -> None:
    """All of LiteLLM's clients get their transport from one place; a test holds it to that."""
    handlers: Any = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    made = handlers.AsyncHTTPHandler.create_async_transport

    def bounded(*args: Any, **kwargs: Any) -> httpx.AsyncBaseTransport:
        return _BoundedTransport(made(*args, **kwargs) or httpx.AsyncHTTPTransport())

    if not getattr(made, "is_bounded", False):
        bounded.is_bounded = True  # pyright: ignore[reportFunctionMemberAccess]
        handlers.AsyncHTTPHandler.create_async_transport = staticmethod(bounded)


def _access(settings: Settings) -> dict[str, dict[str, str]]:
    """Address and key by provider; they are read nowhere else."""
    found: dict[str, dict[str, str]] = {}
    for provider, key, base in (
        ("openai", settings.openai_api_key, settings.openai_api_base),
        ("anthropic", settings.anthropic_api_key, settings.anthropic_api_base),
        ("ollama", None, settings.ollama_api_base),
        ("demo", settings.demo_api_key, settings.demo_api_base),
    ):
        access: dict[str, str] = {}
        if key is not None:
            access["api_key"] = key.get_secret_value()
        if base is not None:
            access["api_base"] = base
        found[provider] = access
    return found
