"""Which models a key can reach: each provider's own list, fetched by us, with prices from the map.

LiteLLM's own function is synchronous, and for most providers a fixed list whatever the key. All
providers are asked at once, bounded in time and size; an error of one is a message in its own result.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from aisaas.adapters.litellm_facts import facts_of
from aisaas.adapters.litellm_prices import find_entry, price_of
from aisaas.controls.ports import Discovery, FoundModel
from aisaas.prices import MILLION, Price
from aisaas.providers import BY_PREFIX, ModelProvider

SECONDS = 10.0
MOST_BYTES = 8_000_000
MOST_MODELS = 2_000
MOST_PAGES = 10
MOST_NAME = 200
MOST_USD_PER_MILLION = 10_000
MOST_TOKENS = 100_000_000
ANTHROPIC_VERSION = "2023-06-01"
AZURE_VERSION = "2024-10-21"
CHAT = frozenset({"chat", "responses", "completion"})
# For models the map doesn't know, the name decides.
NOT_CHAT = re.compile(
    r"embed|whisper|tts|transcri|dall-e|image|imagen|veo|sora|moderation|rerank|realtime|speech"
    r"|audio|guard|ocr|lyria|babbage|davinci|aqa|live",
    re.IGNORECASE,
)
NAME = re.compile(r"[\x21-\x7e]+")


class _TroubleError(Exception):
    """Why a provider's list isn't available, in words for the operator."""


async def discover(providers: Iterable[ModelProvider]) -> Sequence[Discovery]:
    """Ask all of them at once."""
    return await asyncio.gather(*(_discover(provider) for provider in providers))


async def _discover(provider: ModelProvider) -> Discovery:
    try:
        async with asyncio.timeout(SECONDS), httpx.AsyncClient(timeout=SECONDS) as client:
            listed = await _list(client, provider)
    except _TroubleError as trouble:
        return Discovery(provider.id, provider.label, (), str(trouble))
    except (TimeoutError, httpx.TimeoutException):
        return Discovery(
            provider.id, provider.label, (), f"doesn't answer within {SECONDS:.0f} seconds"
        )
    except httpx.HTTPError as error:
        # Its text may contain an address; its type is enough.
        reason = f"can't be reached ({type(error).__name__})"
        return Discovery(provider.id, provider.label, (), reason)
    found = {model.upstream: model for each in listed if (model := _model(provider, each))}
    models = sorted(found.values(), key=lambda model: model.upstream)[:MOST_MODELS]
    return Discovery(provider.id, provider.label, tuple(models), None)


async def _list(client: httpx.AsyncClient, provider: ModelProvider) -> list[Mapping[str, Any]]:
    base, access = _base(provider), provider.access()
    headers = {
        str(k): str(v) for k, v in cast("dict[str, str]", access.get("extra_headers", {})).items()
    }
    key = provider.key.get_secret_value() if provider.key is not None else None
    match provider.prefix:
        case "anthropic":
            own = {"x-api-key": key or "", "anthropic-version": ANTHROPIC_VERSION}
            return await _anthropic(client, provider, f"{base}/v1/models", headers | own)
        case "gemini":
            url = f"{base}/models?pageSize=1000"
            return _entries(
                await _get(client, provider, url, headers | {"x-goog-api-key": key or ""})
            )
        case "azure":
            version = access.get("api_version") or AZURE_VERSION
            url = f"{base}/openai/models?api-version={version}"
            return _entries(await _get(client, provider, url, headers | {"api-key": key or ""}))
        case "ollama" | "ollama_chat":
            return _entries(await _get(client, provider, f"{base}/api/tags", headers))
        case "bedrock":
            url = f"{base}/foundation-models?byOutputModality=TEXT"
            return _entries(await _get(client, provider, url, headers | _aws(provider, url)))
        case _:
            bearer = {"authorization": f"Bearer {key}"} if key else {}
            return _entries(await _get(client, provider, f"{base}/models", headers | bearer))


def _base(provider: ModelProvider) -> str:
    if provider.base is not None:
        return provider.base
    if provider.prefix == "bedrock":
        region = provider.access().get("aws_region_name")
        return f"https://bedrock.{region}.amazonaws.com"
    known = BY_PREFIX.get(provider.prefix)
    if known is None or known.base is None:
        raise _TroubleError("has no list of models that we know of; give its base")
    return known.base


async def _anthropic(
    client: httpx.AsyncClient, provider: ModelProvider, url: str, headers: Mapping[str, str]
) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    after = ""
    for _ in range(MOST_PAGES):
        content = await _get(client, provider, f"{url}?limit=1000{after}", headers)
        found += _entries(content)
        whole = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
        last = whole.get("last_id")
        if not isinstance(last, str) or not NAME.fullmatch(last) or not whole.get("has_more"):
            break
        after = f"&after_id={last}"
    return found


async def _get(
    client: httpx.AsyncClient, provider: ModelProvider, url: str, headers: Mapping[str, str]
) -> Any:
    async with client.stream("GET", url, headers=dict(headers)) as response:
        if response.status_code in {401, 403}:
            raise _TroubleError(
                f"refuses the key in {provider.variables} (status {response.status_code})"
            )
        if not response.is_success:
            raise _TroubleError(f"answers with status {response.status_code}")
        body = b""
        async for part in response.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise _TroubleError(f"sends a list of more than {MOST_BYTES:,} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _TroubleError("sends a list that isn't JSON") from None


def _aws(provider: ModelProvider, url: str) -> dict[str, str]:
    if provider.key is not None:
        return {"authorization": f"Bearer {provider.key.get_secret_value()}"}
    access = provider.access()
    auth: Any = import_module("botocore.auth")
    credentials: Any = import_module("botocore.credentials")
    request: Any = import_module("botocore.awsrequest").AWSRequest(
        method="GET", url=url, headers={"host": urlsplit(url).netloc}
    )
    keys = credentials.Credentials(
        access.get("aws_access_key_id"),
        access.get("aws_secret_access_key"),
        access.get("aws_session_token"),
    )
    auth.SigV4Auth(keys, "bedrock", access.get("aws_region_name")).add_auth(request)
    return {str(name): str(value) for name, value in request.headers.items()}


def _entries(content: Any) -> list[Mapping[str, Any]]:
    listed: Any = content
    if isinstance(content, dict):
        whole = cast("dict[str, Any]", content)
        listed = next(
            (whole[name] for name in ("data", "models", "modelSummaries") if name in whole), None
        )
    if not isinstance(listed, list):
        raise _TroubleError("sends something else than a list of models")
    return [
        cast("Mapping[str, Any]", each)
        for each in cast("list[Any]", listed)[:MOST_MODELS]
        if isinstance(each, dict)
    ]


def _model(provider: ModelProvider, listed: Mapping[str, Any]) -> FoundModel | None:
    """None for a model that isn't for chat."""
    name = next(
        (
            listed[key]
            for key in ("id", "modelId", "name", "model")
            if isinstance(listed.get(key), str)
        ),
        "",
    )
    name = name.removeprefix("models/")
    if not NAME.fullmatch(name) or len(name) > MOST_NAME:
        return None
    upstream = f"{provider.prefix}/{name}"
    known = find_entry(upstream)
    if known is not None:
        if known[1].get("mode") not in CHAT:
            return None
    elif NOT_CHAT.search(name) or not _writes_text(listed):
        return None
    facts = facts_of(upstream)
    return FoundModel(
        provider=provider.id,
        upstream=upstream,
        price=price_of(upstream) or _own_price(provider, listed),
        context_window=facts.context_window or _size(listed, "context_length", "inputTokenLimit"),
        max_output=facts.max_output or _size(listed, "max_completion_tokens", "outputTokenLimit"),
        abilities=facts.abilities,
    )


def _writes_text(listed: Mapping[str, Any]) -> bool:
    """By what Gemini, OpenRouter and Azure say about a model; true if they say nothing."""
    methods = listed.get("supportedGenerationMethods")
    if isinstance(methods, list) and "generateContent" not in methods:
        return False
    architecture: Any = listed.get("architecture")
    if isinstance(architecture, dict):
        made: Any = cast("dict[str, Any]", architecture).get("output_modalities")
        if isinstance(made, list) and "text" not in made:
            return False
    able: Any = listed.get("capabilities")
    if isinstance(able, dict):
        return cast("dict[str, Any]", able).get("chat_completion") is not False
    return True


def _size(listed: Mapping[str, Any], *names: str) -> int | None:
    top: Any = listed.get("top_provider")
    more = cast("dict[str, Any]", top) if isinstance(top, dict) else {}
    for name in names:
        value = listed.get(name, more.get(name))
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS:
            return value
    return None


def _own_price(provider: ModelProvider, listed: Mapping[str, Any]) -> Price | None:
    """OpenRouter isn't in the map and names its prices itself, in USD per token."""
    pricing: Any = listed.get("pricing")
    if provider.prefix != "openrouter" or not isinstance(pricing, dict):
        return None
    rates = cast("dict[str, Any]", pricing)
    with suppress(InvalidOperation):
        into, out = (Decimal(str(rates.get(name))) * MILLION for name in ("prompt", "completion"))
        cached = Decimal(str(rates.get("input_cache_read", rates.get("prompt")))) * MILLION
        prices = (into, out, cached)
        if (
            all(usd.is_finite() and 0 <= usd <= MOST_USD_PER_MILLION for usd in prices)
            and into + out > 0
        ):
            return Price(into, out, cached, version=f"listed-by-{provider.id}")
    return None
