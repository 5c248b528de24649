"""The instance itself: its name, its address, its processes, and its metrics and traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from aisaas.settings.base import PROJECT_ROOT, FieldGroup
from aisaas.settings.values import (
    ADDRESS,
    BASE_URL,
    EXACT_ORIGINS,
    HEADERS,
    LINK,
    LONG_SECRET,
    LONG_SECRETS,
    ORIGIN_URL,
    Listed,
    listed,
)

AppEnv = Literal["development", "preview", "production"]


class NameFields(FieldGroup):
    """What a build of the pages needs, where no other setting need be set."""

    app_name: Annotated[str, Field(min_length=1, max_length=60)] = "AI SaaS"

    def built_values(self) -> dict[str, str]:
        """What a build of the pages contains; another value needs another build."""
        return {"app_name": self.app_name}


class InstanceFields(NameFields):
    app_env: AppEnv = "development"
    port: Annotated[int, Field(ge=1, le=65535)] = 3000
    # The port on which `worker` serves its metrics and health.
    worker_port: Annotated[int, Field(ge=1, le=65535)] = 9464
    app_url: Annotated[str | None, ORIGIN_URL] = None
    # Linked at the foot of the public pages, where they are set.
    terms_url: Annotated[Annotated[str, Field(max_length=500)] | None, LINK] = None
    privacy_url: Annotated[Annotated[str, Field(max_length=500)] | None, LINK] = None
    contact_email: Annotated[Annotated[str, Field(max_length=254)] | None, ADDRESS] = None
    allowed_origins: Annotated[Listed, EXACT_ORIGINS] = ()
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    aisaas_data_dir: Path = PROJECT_ROOT / ".aisaas"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # If blank: text in development, else JSON.
    log_format: Literal["text", "json"] | None = None
    # Grants access to /metrics from other machines.
    metrics_token: Annotated[SecretStr | None, LONG_SECRET] = None
    # Traces are off without an address to send them to.
    otel_exporter_otlp_endpoint: Annotated[str | None, BASE_URL] = None
    otel_exporter_otlp_headers: Annotated[SecretStr | None, HEADERS] = None
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    # The store of open tabs' states. Either way they are rebuilt from cookie and database.
    tab_states: Literal["memory", "redis"] = "memory"
    # Whether this process does the jobs that any process may do for all the others.
    run_jobs: bool = True
    shutdown_grace_seconds: Annotated[float, Field(ge=0, le=600)] = 10
    session_secret: Annotated[SecretStr | None, LONG_SECRET] = None
    # The previous or next secret: only opens what it sealed, and seals nothing.
    session_secret_previous: Annotated[SecretStr | None, LONG_SECRETS] = None

    @property
    def url(self) -> str:
        """The address users type, without a trailing slash."""
        return self.app_url or f"http://127.0.0.1:{self.port}"

    @property
    def origins(self) -> tuple[str, ...]:
        """Every origin a socket or a form may come from, exactly."""
        own = (self.url,)
        if self.app_env == "development" and self.app_url is None:
            own += (f"http://localhost:{self.port}",)
        return own + self.allowed_origins

    @property
    def log_form(self) -> Literal["text", "json"]:
        return self.log_format or ("text" if self.app_env == "development" else "json")

    @property
    def trace_headers(self) -> dict[str, str]:
        """Extra headers for the collector, by name."""
        pairs = (pair.partition("=") for pair in listed(self.otel_exporter_otlp_headers))
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def secure_cookies(self) -> bool:
        return self.url.startswith("https://")

    @property
    def session_secrets(self) -> tuple[str, ...]:
        """The secret that seals, then those that only open."""
        assert self.session_secret is not None
        return (self.session_secret.get_secret_value(), *listed(self.session_secret_previous))
