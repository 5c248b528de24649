"""How a process begins and ceases to be observed: its logs, its pseudonyms, its traces."""

from __future__ import annotations

import asyncio
import logging

from aisaas import logs
from aisaas.observe import context, tracing
from aisaas.observe.outages import QuietWhileAway
from aisaas.settings import Settings

log = logging.getLogger(__name__)


def begin(config: Settings) -> None:
    """What a process does first, as its settings say."""
    secrets = (value for _, value in config.secrets())
    logs.configure(config.log_level, secrets, form=config.log_form, filters=(QuietWhileAway(),))
    context.identify(config.session_secrets[0])
    if config.otel_exporter_otlp_endpoint is not None:
        tracing.start(
            config.otel_exporter_otlp_endpoint,
            headers=config.trace_headers,
            share=config.otel_traces_sampler_arg,
            environment=config.app_env,
        )
        log.info("traces go to %s", config.otel_exporter_otlp_endpoint)


async def end() -> None:
    """The last step: send waiting spans, for a few seconds at most."""
    await asyncio.to_thread(tracing.stop)
