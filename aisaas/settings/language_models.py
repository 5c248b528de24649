"""Model providers, and what bounds a call to one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from dotenv import dotenv_values
from pydantic import Field, PrivateAttr, SecretStr

from aisaas import providers
from aisaas.providers import ModelProvider, ProvidersFileError
from aisaas.settings.base import FieldGroup
from aisaas.settings.values import BASE_URL, Listed


class ModelFields(FieldGroup):
    openai_api_key: SecretStr | None = None
    openai_api_base: Annotated[str | None, BASE_URL] = None
    anthropic_api_key: SecretStr | None = None
    anthropic_api_base: Annotated[str | None, BASE_URL] = None
    gemini_api_key: SecretStr | None = None
    mistral_api_key: SecretStr | None = None
    groq_api_key: SecretStr | None = None
    openrouter_api_key: SecretStr | None = None
    azure_api_key: SecretStr | None = None
    azure_api_base: Annotated[str | None, BASE_URL] = None
    azure_api_version: Annotated[str, Field(max_length=40)] | None = None
    # Bedrock is on with its region; the keys alone are on many machines for other reasons.
    aws_region_name: Annotated[str, Field(pattern=r"^[a-z0-9-]{4,40}$")] | None = None
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    aws_bearer_token_bedrock: SecretStr | None = None
    deepseek_api_key: SecretStr | None = None
    xai_api_key: SecretStr | None = None
    togetherai_api_key: SecretStr | None = None
    fireworks_ai_api_key: SecretStr | None = None
    cerebras_api_key: SecretStr | None = None
    moonshot_api_key: SecretStr | None = None
    # A TOML or JSON file with any other provider, and with more keys and addresses of these.
    model_providers: Path | None = None
    ollama_api_base: Annotated[str | None, BASE_URL] = None
    ollama_models: Listed = ("llama3.2",)
    demo_api_base: Annotated[str | None, BASE_URL] = None
    demo_api_key: SecretStr | None = None
    default_model: str | None = None
    model_catalogue: Path | None = None
    # Models that answer when a provider fails, in this order, overriding the catalogue.
    fallback_models: Listed = ()
    first_token_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    thinking_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 300
    token_gap_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    max_reply_tokens: Annotated[int, Field(ge=1, le=128_000)] = 4096
    max_message_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 32_000

    _file_providers: tuple[ModelProvider, ...] = PrivateAttr(default=())

    def read_providers_file(self) -> list[str]:
        """Read the file that `model_providers` names; returns its problems."""
        if self.model_providers is None:
            return []
        try:
            self._file_providers = providers.read_file(self.model_providers, self._variable)
        except ProvidersFileError as error:
            return [f"MODEL_PROVIDERS: {'; '.join(error.problems)}"]
        return []

    def value_of(self, variable: str) -> object:
        return getattr(self, variable.lower())

    @classmethod
    def _variable(cls, name: str) -> str | None:
        """A variable that isn't a setting of its own, because a file named it; blank is not set."""
        path = cls.model_config.get("env_file")
        written = dotenv_values(str(path), interpolate=False) if path else {}
        for value in (os.environ.get(name), written.get(name)):
            if value and value.strip():
                return value.strip()
        return None

    @property
    def file_providers(self) -> tuple[ModelProvider, ...]:
        return self._file_providers

    def providers(self) -> frozenset[str]:
        """The ids of the model providers that can be called."""
        return frozenset(self.provider_access())

    def provider_access(self) -> Mapping[str, ModelProvider]:
        """The same with all that is needed to call them."""
        return providers.by_id((*providers.from_variables(self.value_of), *self._file_providers))
