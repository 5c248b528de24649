"""The model providers that can be called, as data: well-known ones, each switched on by its variable,
and those of the file that MODEL_PROVIDERS names, for everything else LiteLLM speaks.

A file entry never holds a key: it names the variable that does. `settings/` resolves them, so it
stays the only reader of the environment, and every key is a SecretStr from the start.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

ProviderId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,79}$")]

# A value of the file that starts so is the variable's, and secret.
FROM_VARIABLE = "env:"
# The guards and the adapter define a call: none of these may come from a file. `n` would multiply
# the cost, and retries and fallbacks would be calls that bypass the guards.
RESERVED = frozenset(
    {
        *("model", "messages", "prompt", "stream", "stream_options", "timeout", "stream_timeout"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "user"),
        *("max_retries", "num_retries", "retry_policy", "fallbacks", "model_list"),
        *("context_window_fallback_dict", "api_key", "api_base", "base_url", "extra_headers"),
        *("headers", "tools", "functions", "tool_choice", "web_search_options", "mock_response"),
        *("mock_timeout", "callbacks", "success_callback", "metadata", "caching", "cache"),
        *("input_cost_per_token", "output_cost_per_token", "custom_llm_provider", "client"),
        *("http_client", "shared_session", "reasoning_effort", "thinking"),
    }
)
MOST_PROVIDERS = 100
MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """A provider that variables alone switch on. `base` is where its models are listed if no other
    address is set."""

    id: str
    label: str
    prefix: str
    key: str | None
    base: str | None = None
    base_variable: str | None = None
    # More variables, by the name of LiteLLM's parameter.
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    # The variable that turns it on, where that isn't the key.
    switch: str | None = None
    required: tuple[str, ...] = ()
    # It charges for usage, so it has a spending limit of its own to set.
    billed: bool = True

    @property
    def switched_on_by(self) -> str:
        name = self.switch or self.key
        assert name is not None
        return name


KNOWN = (
    KnownProvider(
        "openai",
        "OpenAI",
        "openai",
        "OPENAI_API_KEY",
        "https://api.openai.com/v1",
        "OPENAI_API_BASE",
    ),
    KnownProvider(
        "anthropic",
        "Anthropic",
        "anthropic",
        "ANTHROPIC_API_KEY",
        "https://api.anthropic.com",
        "ANTHROPIC_API_BASE",
    ),
    KnownProvider(
        "gemini",
        "Google Gemini",
        "gemini",
        "GEMINI_API_KEY",
        "https://generativelanguage.googleapis.com/v1beta",
    ),
    KnownProvider("mistral", "Mistral", "mistral", "MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    KnownProvider("groq", "Groq", "groq", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    KnownProvider(
        "openrouter",
        "OpenRouter",
        "openrouter",
        "OPENROUTER_API_KEY",
        "https://openrouter.ai/api/v1",
    ),
    KnownProvider(
        "azure",
        "Azure OpenAI",
        "azure",
        "AZURE_API_KEY",
        base_variable="AZURE_API_BASE",
        parameters={"api_version": "AZURE_API_VERSION"},
        required=("AZURE_API_BASE",),
    ),
    # By its region, under the name LiteLLM has for it: many machines have AWS keys for other reasons.
    KnownProvider(
        "bedrock",
        "Amazon Bedrock",
        "bedrock",
        "AWS_BEARER_TOKEN_BEDROCK",
        parameters={
            "aws_region_name": "AWS_REGION_NAME",
            "aws_access_key_id": "AWS_ACCESS_KEY_ID",
            "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
            "aws_session_token": "AWS_SESSION_TOKEN",
        },
        switch="AWS_REGION_NAME",
    ),
    KnownProvider(
        "deepseek", "DeepSeek", "deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"
    ),
    KnownProvider("xai", "xAI", "xai", "XAI_API_KEY", "https://api.x.ai/v1"),
    KnownProvider(
        "together_ai",
        "Together AI",
        "together_ai",
        "TOGETHERAI_API_KEY",
        "https://api.together.xyz/v1",
    ),
    KnownProvider(
        "fireworks_ai",
        "Fireworks AI",
        "fireworks_ai",
        "FIREWORKS_AI_API_KEY",
        "https://api.fireworks.ai/inference/v1",
    ),
    KnownProvider(
        "cerebras", "Cerebras", "cerebras", "CEREBRAS_API_KEY", "https://api.cerebras.ai/v1"
    ),
    KnownProvider(
        "moonshot", "Moonshot AI", "moonshot", "MOONSHOT_API_KEY", "https://api.moonshot.ai/v1"
    ),
    KnownProvider(
        "ollama",
        "Ollama",
        "ollama_chat",
        None,
        base_variable="OLLAMA_API_BASE",
        switch="OLLAMA_API_BASE",
        billed=False,
    ),
    KnownProvider(
        "demo",
        "Demo",
        "openai",
        "DEMO_API_KEY",
        base_variable="DEMO_API_BASE",
        switch="DEMO_API_BASE",
        billed=False,
    ),
)
BY_PREFIX = {known.prefix: known for known in reversed(KNOWN) if known.id != "demo"}
# Any of these is a provider to chat with; without one, a laptop gets the demo model.
SWITCHES = (
    *(known.switched_on_by for known in KNOWN if known.id != "demo"),
    "MODEL_PROVIDERS",
)


@dataclass(frozen=True, slots=True)
class ModelProvider:
    """A provider with all that is needed to call it. `key_variable` is what an alert may name."""

    id: str
    label: str
    prefix: str
    key_variable: str | None = None
    key: SecretStr | None = None
    base: str | None = None
    headers: Mapping[str, str | SecretStr] = field(default_factory=dict[str, "str | SecretStr"])
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    billed: bool = True

    @property
    def variables(self) -> str:
        """What to look at when the provider refuses us."""
        return self.key_variable or "MODEL_PROVIDERS"

    def access(self) -> dict[str, object]:
        """LiteLLM's arguments, secrets revealed: read where a call is made and nowhere else."""
        access: dict[str, object] = {name: _plain(v) for name, v in self.parameters.items()}
        # Without a key LiteLLM would look for one of its own in the environment.
        if self.key is not None:
            access["api_key"] = self.key.get_secret_value()
        elif self.prefix in {"openai", "openai_like", "hosted_vllm"}:
            access["api_key"] = "none"
        base = self.base or _default_base(self)
        if base is not None:
            access["api_base"] = base
        if self.headers:
            access["extra_headers"] = {name: _plain(v) for name, v in self.headers.items()}
        return access


def _default_base(provider: ModelProvider) -> str | None:
    """OpenAI's is explicit, so that no LiteLLM variable overrides it; LiteLLM knows the others'."""
    known = BY_PREFIX.get(provider.prefix)
    return known.base if known is not None and known.prefix == "openai" else None


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


class ProviderEntry(BaseModel):
    """An entry of the file. Headers and parameters may be `env:NAME`: the variable's value."""

    model_config = ConfigDict(extra="forbid")

    id: ProviderId
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,39}$")]
    label: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    key_variable: Variable | None = None
    base: Annotated[str, Field(max_length=500)] | None = None
    headers: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,80}$")],
        Annotated[str, Field(max_length=2000, pattern=r"^[\x20-\x7e]*$")],
    ] = {}
    parameters: dict[str, Any] = {}
    billed: bool = True


class ProvidersFileError(ValueError):
    """The file's problems, one per line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def read_file(path: Path, variable: Callable[[str], str | None]) -> tuple[ModelProvider, ...]:
    """The providers of a TOML file (tables `[[providers]]`) or a JSON file (a list, or the same).

    Raises:
        ProvidersFileError: unreadable or malformed, or a variable that it names isn't set.
    """
    entries = _entries(path)
    problems: list[str] = []
    found: list[ModelProvider] = []
    for entry in entries:
        if entry.id in {"ollama", "demo"}:
            problems.append(f"the id {entry.id} belongs to its own variables; choose another one")
        if entry.id in {other.id for other in found}:
            problems.append(f"the id {entry.id} is there twice")
        found.append(_provider(entry, variable, problems))
    if problems:
        raise ProvidersFileError(problems)
    return tuple(found)


def _entries(path: Path) -> list[ProviderEntry]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ProvidersFileError([f"{path.name} is larger than {MOST_BYTES:,} bytes"])
        text = path.read_text(encoding="utf-8")
        content: Any = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise ProvidersFileError([f"{path.name} can't be read: {error.strerror}"]) from None
    except ValueError as error:
        if isinstance(error, ProvidersFileError):
            raise
        raise ProvidersFileError([f"{path.name} can't be parsed: {error}"]) from None
    listed = content.get("providers") if isinstance(content, dict) else content  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    adapter = TypeAdapter(
        Annotated[list[ProviderEntry], Field(min_length=1, max_length=MOST_PROVIDERS)]
    )
    try:
        return adapter.validate_python(listed)
    except ValidationError as error:
        # The message only, never the input, which may contain a key.
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise ProvidersFileError(
            [f"{'.'.join(str(part) for part in d['loc'])}: {d['msg']}" for d in details]
        ) from None


def _provider(
    entry: ProviderEntry, variable: Callable[[str], str | None], problems: list[str]
) -> ModelProvider:
    def named(name: str) -> SecretStr | None:
        value = variable(name)
        if value is None:
            problems.append(f"{entry.id} needs the variable {name}, which is not set")
        return SecretStr(value) if value is not None else None

    def resolved(value: object) -> object:
        if isinstance(value, str) and value.startswith(FROM_VARIABLE):
            return named(value.removeprefix(FROM_VARIABLE)) or ""
        return value

    if reserved := sorted(_names(entry.parameters) & RESERVED):
        problems.append(
            f"{entry.id}: these parameters are not for you to set: {', '.join(reserved)}"
        )
    if authorization := [name for name in entry.headers if name.lower() in _KEY_HEADERS]:
        problems.append(f"{entry.id}: use key_variable instead of the header {authorization[0]}")
    if entry.base is not None and (wrong := base_problem(entry.base)):
        problems.append(f"{entry.id}: base {wrong}")
    if entry.base is None and entry.prefix not in BY_PREFIX and entry.prefix.startswith("openai"):
        problems.append(f"{entry.id}: an OpenAI-compatible server needs a base")
    known = BY_PREFIX.get(entry.prefix)
    headers: dict[str, str | SecretStr] = {}
    for name, value in entry.headers.items():
        found = resolved(value)
        headers[name] = found if isinstance(found, SecretStr) else str(found)
    return ModelProvider(
        id=entry.id,
        label=entry.label or (known.label if known and known.id == entry.id else entry.id),
        prefix=entry.prefix,
        key_variable=entry.key_variable,
        key=named(entry.key_variable) if entry.key_variable else None,
        base=entry.base.rstrip("/") if entry.base else None,
        headers=headers,
        parameters={name: resolved(value) for name, value in entry.parameters.items()},
        billed=entry.billed,
    )


_KEY_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})


def _names(parameters: Mapping[str, object]) -> set[str]:
    """Also what goes into the body as it is."""
    names = set(parameters)
    body = parameters.get("extra_body")
    return names | {str(name) for name in body} if isinstance(body, dict) else names  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def base_problem(base: str) -> str | None:
    """What is wrong with an address of a provider."""
    try:
        parts = urlsplit(base)
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "should look like https://host/v1 or http://host:port/v1"
    if parts.username or parts.password:
        return "must not carry a user or a password"
    if parts.query or parts.fragment:
        return "must not carry a query or a fragment"
    return None


def from_variables(value_of: Callable[[str], object]) -> tuple[ModelProvider, ...]:
    """The well-known providers that are switched on; `value_of` knows the settings by variable."""
    found: list[ModelProvider] = []
    for known in KNOWN:
        if not value_of(known.switched_on_by):
            continue
        key = value_of(known.key) if known.key else None
        base = value_of(known.base_variable) if known.base_variable else None
        more = {name: value_of(variable) for name, variable in known.parameters.items()}
        found.append(
            ModelProvider(
                id=known.id,
                label=known.label,
                prefix=known.prefix,
                key_variable=_named(known, value_of),
                key=key if isinstance(key, SecretStr) else None,
                base=base if isinstance(base, str) else None,
                parameters={name: value for name, value in more.items() if value is not None},
                billed=known.billed,
            )
        )
    return tuple(found)


def _named(known: KnownProvider, value_of: Callable[[str], object]) -> str:
    """The variable that an alert names: of Bedrock's two ways in, the one that is used."""
    if known.id == "bedrock" and not value_of("AWS_BEARER_TOKEN_BEDROCK"):
        return "AWS_ACCESS_KEY_ID"
    return known.key or known.switched_on_by


def missing_variables(value_of: Callable[[str], object]) -> list[str]:
    """Problems of half-configured providers, a line each."""
    problems: list[str] = []
    for known in KNOWN:
        if not value_of(known.switched_on_by):
            continue
        problems += [
            f"{name}: is not set, but {known.switched_on_by} is"
            for name in known.required
            if not value_of(name)
        ]
    if value_of("AWS_REGION_NAME") and not value_of("AWS_BEARER_TOKEN_BEDROCK"):
        problems += [
            f"{name}: is not set, but AWS_REGION_NAME is; Bedrock needs AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK"
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            if not value_of(name)
        ]
    return problems


def by_id(providers: Iterable[ModelProvider]) -> dict[str, ModelProvider]:
    """Later ones replace earlier ones, so the file wins."""
    return {provider.id: provider for provider in providers}


def secrets_of(providers: Iterable[ModelProvider]) -> list[tuple[str, str]]:
    """(name, value) of every secret that came from a variable which only the file names."""
    found: list[tuple[str, str]] = []
    for provider in providers:
        if provider.key is not None:
            found.append((provider.variables, provider.key.get_secret_value()))
        for values in (provider.headers, provider.parameters):
            found += [
                (f"{provider.id}.{name}", value.get_secret_value())
                for name, value in values.items()
                if isinstance(value, SecretStr)
            ]
    return [(name, value) for name, value in found if value]
