"""Traces: from a browser's event to the guards, the reservation, the provider and the settling.

Off, and next to free, until `start` was called. Invariants: a span carries names, numbers and
codes, never text: of an exception only the type. Only our own spans are sent: the library's global
provider is left alone, so that no third-party library starts exporting.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, use_span

from aisaas.errors import Refusal
from aisaas.observe import context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

Value = str | int | float | bool
SCOPE = "aisaas"
EXPORT_SECONDS = 5.0


class Traced:
    """A span, or nothing: then whatever is noted is forgotten."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def note(self, **values: Value) -> None:
        if self._span is not None:
            self._span.set_attributes({f"aisaas.{name}": value for name, value in values.items()})


_UNTRACED = Traced()


class _Tracing:
    """Of this process."""

    provider: TracerProvider | None = None
    tracer: Tracer | None = None


def span(name: str, **values: Value) -> AbstractContextManager[Traced]:
    """For the block, and for what it starts: spans inside are its children."""
    tracer = _Tracing.tracer
    return nullcontext(_UNTRACED) if tracer is None else _spanned(tracer, name, values)


@contextmanager
def _spanned(tracer: Tracer, name: str, values: Mapping[str, Value]) -> Generator[Traced]:
    begun = tracer.start_span(name)
    traced = Traced(begun)
    traced.note(**values)
    try:
        with use_span(begun, record_exception=False, set_status_on_exception=False):
            yield traced
    except Refusal as refusal:
        # Expected, and no error.
        traced.note(refusal=refusal.code)
        raise
    except BaseException as error:
        begun.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        # Known by now, also where it was found out inside.
        traced.note(**context.current())
        begun.end()


@contextmanager
def detached(name: str, **values: Value) -> Generator[Traced]:
    """A span that nothing becomes a child of: for generators, which may be ended from elsewhere."""
    tracer = _Tracing.tracer
    if tracer is None:
        yield _UNTRACED
        return
    begun = tracer.start_span(name, kind=SpanKind.CLIENT)
    traced = Traced(begun)
    traced.note(**values)
    try:
        yield traced
    except GeneratorExit:
        raise
    except BaseException as error:
        begun.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        traced.note(**context.current())
        begun.end()


def start(endpoint: str, *, headers: Mapping[str, str], share: float, environment: str) -> None:
    """Send spans to a collector over OTLP/HTTP from now on, from threads of the library's own.

    Args:
        endpoint: the collector's address; spans go to its /v1/traces.
        share: of the traces that are kept, from 0 to 1; a trace is kept whole or not at all.
    """
    # Imported here: only who traces needs them, and they are slow to import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(
        f"{endpoint}/v1/traces", headers=dict(headers), timeout=EXPORT_SECONDS
    )
    begin(BatchSpanProcessor(exporter), share=share, environment=environment)


def begin(processor: SpanProcessor, *, share: float = 1.0, environment: str) -> None:
    """The same, to wherever `processor` brings them."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    stop()
    about = {"service.name": SCOPE, "deployment.environment.name": environment}
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(share)),
        resource=Resource.create(about),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    _Tracing.provider = provider
    _Tracing.tracer = provider.get_tracer(SCOPE)


def stop() -> None:
    """Send the remaining spans and stop tracing. Blocks for EXPORT_SECONDS at most."""
    provider, _Tracing.provider, _Tracing.tracer = _Tracing.provider, None, None
    if provider is not None:
        provider.force_flush(int(EXPORT_SECONDS * 1000))
        provider.shutdown()
