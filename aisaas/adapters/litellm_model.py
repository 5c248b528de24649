"""The only access to model providers, through LiteLLM.

LiteLLM takes seconds and 170 MB to import, so it is imported in a thread, once, when it is first
needed or warmed. Prices come without it (litellm_prices.py).

Measured on LiteLLM 1.106.2: if the upstream closes a stream without a finish reason, LiteLLM reports
it as finished, with invented usage. So finish reasons and usage come from what the provider really
sent (`received_finish_reason`, `chunks`), not from the synthetic closing chunk.

LiteLLM makes every request: address, headers, body, parameters and errors are its own. Its stream
wrapper takes 0.4 ms a chunk, so events in OpenAI's and Anthropic's protocols are read without it
(event_stream.py), and all others through it (litellm_stream.py).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from functools import cache
from typing import Any
from uuid import UUID

import httpx

from aisaas.adapters import litellm_stream
from aisaas.adapters.event_stream import parser_of, protocol_of, read_events
from aisaas.adapters.litellm_facts import facts_of
from aisaas.adapters.litellm_prices import entry_of, package_dir, price_of
from aisaas.adapters.litellm_reasoning import effort_for, reasoning_of
from aisaas.adapters.litellm_request import request, send_messages_as_they_are
from aisaas.adapters.litellm_wire import Wire, watch_every_answer, wire
from aisaas.chat.ports import Admitted, Chunk, Text, Thinking
from aisaas.errors import KEY_REFUSED, MODEL_GONE, ProviderError
from aisaas.language_models import Model, ModelFacts, Reasoning
from aisaas.observe.calls import provider_call
from aisaas.prices import Price
from aisaas.settings import Settings

log = logging.getLogger(__name__)

# LiteLLM classifies errors by words in their text, so the status decides for these.
_OPERATORS: Mapping[object, str] = {401: KEY_REFUSED[0], 403: KEY_REFUSED[1], 404: MODEL_GONE}
TOKEN_ENCODING = "o200k_base"  # noqa: S105


@cache
def _encoding() -> Any:
    # LiteLLM ships the tokenizer's tables; without them the tokenizer would fetch them.
    os.environ.setdefault(
        "TIKTOKEN_CACHE_DIR", str(package_dir() / "litellm_core_utils" / "tokenizers")
    )
    tiktoken = importlib.import_module("tiktoken")
    return tiktoken.get_encoding(TOKEN_ENCODING)


# Two threads that import it at once see each other's half-imported modules.
_importing = threading.Lock()


def _import_litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Otherwise it loads all of `.env` into our environment, and so into every child's.
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    with _importing:
        litellm: Any = importlib.import_module("litellm")
        # Otherwise the first call imports these hundreds of modules on the event loop, which takes
        # seconds on a busy machine, and the provider would seem silent.
        importlib.import_module("openai.resources")
        watch_every_answer()
        send_messages_as_they_are()
    litellm.telemetry = False
    # It would end a reply at the hundredth identical chunk, which horizontal rules and table borders
    # produce. A reply's length is bounded by its grant.
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = sys.maxsize
    # Otherwise a model with `llama-3` in its name downloads a tokenizer on the event loop.
    litellm.disable_hf_tokenizer_download = True
    litellm.suppress_debug_info = True
    # Its loggers print prompts and headers at lower levels.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
        # The remaining lines go through our own handlers.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    _encoding()
    return litellm


def _in_background(work: Callable[[], Any]) -> Future[Any]:
    """In a daemon thread: an executor's would delay the end of the process until the import is done,
    which takes half a minute on a busy machine."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised to the waiting caller
            future.set_exception(error)

    threading.Thread(target=run, name="import of litellm", daemon=True).start()
    return future


class LiteLLMModel:
    """Implements `chat.ports.LanguageModel`."""

    def __init__(self, settings: Settings) -> None:
        self._loading: Future[Any] | None = None
        self._providers = settings.provider_access()
        # Running calls, by request id.
        self._wires: dict[UUID, Wire] = {}

    async def warm(self) -> None:
        """Import LiteLLM now, off the event loop, so that the first user doesn't wait for it."""
        if self._loading is None:
            self._loading = _in_background(_import_litellm)
        await asyncio.shield(asyncio.wrap_future(self._loading))

    def price_of(self, upstream: str) -> Price | None:
        return price_of(upstream)

    def facts_of(self, upstream: str) -> ModelFacts:
        return facts_of(upstream)

    def reasoning_of(self, upstream: str) -> Reasoning:
        return reasoning_of(upstream, entry_of(upstream))

    def heard_at(self, request_id: UUID) -> float | None:
        found = self._wires.get(request_id)
        return found.heard_at if found is not None else None

    def count_tokens(self, text: str) -> int:
        return len(_encoding().encode_ordinary(text))

    async def stream(self, admitted: Admitted, model: Model) -> AsyncGenerator[Chunk]:
        if model not in admitted.models:
            raise ValueError(f"{model.id} was not admitted")
        await self.warm()
        assert self._loading is not None
        litellm = self._loading.result()
        self._wires[admitted.request_id] = heard = Wire()
        try:
            with provider_call(model.provider, model.id) as call:
                async with aclosing(self._call(litellm, admitted, model, heard)) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Text | Thinking):
                            call.text_came()
                        yield chunk
        finally:
            # A fallback of the same request may have started.
            if self._wires.get(admitted.request_id) is heard:
                del self._wires[admitted.request_id]

    async def _call(
        self, litellm: Any, admitted: Admitted, model: Model, heard: Wire
    ) -> AsyncGenerator[Chunk]:
        max_tokens = min(admitted.max_tokens, model.max_output)
        wire.set(heard)
        try:
            upstream: Any = await litellm.acompletion(
                **request(
                    admitted.prompt, model, self._providers[model.provider], max_tokens=max_tokens
                ),
                **_effort(admitted, model, max_tokens),
            )
            async with aclosing(_read(upstream, heard, model)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001
            # The vendor raises dozens of types, some with the prompt in their text: pass on only the
            # type and the status.
            error = _as_litellm_says(litellm, model, error)
            status: object = getattr(error, "status_code", None)
            kind = _OPERATORS.get(status, type(error).__name__)
            raise ProviderError(kind, f"status {status}") from None


def _as_litellm_says(litellm: Any, model: Model, error: Exception) -> Exception:
    """An error of a parser or of the connection, as the wrapper would have raised it."""
    base = importlib.import_module("litellm.llms.base_llm.chat.transformation").BaseLLMException
    if not isinstance(error, (base, httpx.HTTPError)):
        return error
    try:
        vendor = model.upstream.partition("/")[0]
        litellm.exception_type(
            model=model.upstream, custom_llm_provider=vendor, original_exception=error
        )
    except Exception as mapped:  # noqa: BLE001
        return mapped
    return error


def _read(upstream: Any, heard: Wire, model: Model) -> AsyncGenerator[Chunk]:
    body = heard.body
    protocol = protocol_of(model.upstream, body)
    if body is None or protocol is None:
        return litellm_stream.read(upstream, heard)
    return read_events(body, heard, protocol, parser_of(upstream))


def _effort(admitted: Admitted, model: Model, max_tokens: int) -> dict[str, Any]:
    if admitted.effort is None or admitted.effort not in model.reasoning.efforts:
        return {}
    effort = effort_for(model.upstream, entry_of(model.known_as), admitted.effort, max_tokens)
    # The catalogue says that the model supports it; LiteLLM's map may not know the model.
    return {"reasoning_effort": effort, "allowed_openai_params": ["reasoning_effort"]}
