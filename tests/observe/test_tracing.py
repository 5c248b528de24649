"""Traces, as a collector gets them: one chain from the click to the ledger, and no word in it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest
import reflex as rx
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from aisaas.chat.guards import GUARDS
from aisaas.errors import MessageInvalid
from aisaas.observe import tracing
from aisaas.observe.context import pseudonym
from aisaas.ui import notices
from aisaas.wiring import Services
from tests.observe.conftest import until_idle
from tests.services import Build, new_principal, whole

CANARY = "the cat of Xanthippe sleeps"


@dataclass
class Collector:
    """A server that takes spans."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list[bytes])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def spans(self) -> list[Span]:
        """Those that have come; nothing is traced any more afterwards."""
        tracing.stop()
        found: list[Span] = []
        for body in self.bodies:
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


@pytest.fixture
def collector() -> Generator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            made.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing to say."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        tracing.stop()
        server.shutdown()
        thread.join()


def _start(collector: Collector, share: float = 1.0) -> None:
    tracing.start(
        collector.url, headers={"authorization": "Bearer x"}, share=share, environment="development"
    )


def _values(span: Span) -> dict[str, object]:
    return {
        pair.key.removeprefix("aisaas."): getattr(pair.value, pair.value.WhichOneof("value") or "")
        for pair in span.attributes
    }


def _path(span: Span, spans: list[Span]) -> list[str]:
    """The names from the root to this span."""
    by_id = {each.span_id: each for each in spans}
    names = [span.name]
    while span.parent_span_id:
        span = by_id[span.parent_span_id]
        names.insert(0, span.name)
    return names


async def test_one_trace_leads_from_the_event_to_guards_provider_and_settling(
    services: Services, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the event finds its place among others.
    monkeypatch.setattr(notices, "services", lambda: services)
    principal = await new_principal(services)
    _start(collector)

    @notices.handle_errors
    async def send(self: rx.State) -> Any:
        return await services.chat.send(
            principal, f"echo {CANARY}", conversation_id=None, model="demo"
        )

    started = await send(cast("rx.State", None))
    shown, message = await whole(services, principal, started)
    await until_idle(services)
    spans = collector.spans()
    assert len({span.trace_id for span in spans}) == 1
    paths = [_path(span, spans) for span in spans]
    root = next(span.name for span in spans if not span.parent_span_id)
    assert root.startswith("event ")
    assert root.endswith("send")
    sending = [root, "chat.send"]
    for guard in GUARDS:
        assert [*sending, "chat.admit", f"guard.{guard.__name__}"] in paths
    for path in (
        [*sending, "chat.admit", "guard.reservation"],
        [*sending, "chat.start"],
        [*sending, "reply"],
        [*sending, "reply", "provider.call"],
        [*sending, "reply", "reply.settle"],
    ):
        assert path in paths, paths
    assert any(path[-2:] == ["title", "provider.call"] for path in paths)

    of = {span.name: _values(span) for span in spans}
    assert of["reply"]["outcome"] == "done"
    assert of["reply.settle"]["settled"] is True
    reply = next(_values(s) for s in spans if _path(s, spans)[-2:] == ["reply", "provider.call"])
    assert (reply["provider"], reply["model"], reply["end"]) == ("demo", "demo", "done")
    assert isinstance(reply["first_token_seconds"], float)
    for name in ("chat.send", "reply", "provider.call"):
        assert of[name]["reply"] == str(message.id)
    assert of["reply"]["user"] == pseudonym(principal.user_id)
    assert {span.status.code for span in spans} == {Status.STATUS_CODE_UNSET}
    assert all(headers["authorization"] == "Bearer x" for headers in collector.headers)
    exported = b"".join(collector.bodies)
    for never in (
        b"Xanthippe",
        shown.encode()[:30],
        str(principal.user_id).encode(),
        principal.email.encode(),
        *(secret.encode() for _, secret in services.settings.secrets()),
    ):
        assert never not in exported


async def test_a_refusal_is_named_and_no_error(services: Services, collector: Collector) -> None:
    principal = await new_principal(services)
    _start(collector)
    with pytest.raises(MessageInvalid):
        await services.chat.send(principal, "\x00 Xanthippe", conversation_id=None, model="demo")
    spans = collector.spans()
    guard = next(span for span in spans if span.name == "guard.message_is_valid")
    assert _values(guard)["refusal"] == "message_invalid"
    assert guard.status.code == Status.STATUS_CODE_UNSET
    assert not any(span.name == "guard.reservation" for span in spans)


async def test_what_fails_is_reported_by_its_type_and_never_by_its_text(
    collector: Collector,
) -> None:
    _start(collector)
    with pytest.raises(ValueError, match="cat"), tracing.span("outer"):
        raise ValueError(CANARY)
    with pytest.raises(ValueError, match="cat"), tracing.detached("alone"):
        raise ValueError(CANARY)
    spans = collector.spans()
    assert [span.status.code for span in spans] == [Status.STATUS_CODE_ERROR] * 2
    assert {span.status.message for span in spans} == {"ValueError"}
    assert not any(span.events for span in spans)
    assert b"Xanthippe" not in b"".join(collector.bodies)


async def test_a_provider_that_fails_is_an_error_and_its_fallback_is_beside_it(
    build_services: Build, collector: Collector
) -> None:
    # Of their own: a model that has failed several times is asked last.
    async with build_services(run_jobs=False) as services:
        principal = await new_principal(services)
        _start(collector)
        started = await services.chat.send(
            principal, "long 3", conversation_id=None, model="broken"
        )
        await whole(services, principal, started)
        await until_idle(services)
    spans = collector.spans()
    calls = [s for s in spans if _path(s, spans)[-2:] == ["reply", "provider.call"]]
    ends = {str(_values(span)["model"]): _values(span)["end"] for span in calls}
    assert ends == {"broken": "failed", "demo": "done"}
    failed = next(span for span in calls if _values(span)["model"] == "broken")
    assert (failed.status.code, failed.status.message) == (
        Status.STATUS_CODE_ERROR,
        "ProviderError",
    )


async def test_a_trace_that_is_not_sampled_is_not_sent(collector: Collector) -> None:
    _start(collector, share=0.0)
    with tracing.span("outer"), tracing.span("inner"):
        pass
    assert collector.spans() == []


async def test_nothing_is_traced_until_it_is_asked_for(
    services: Services, collector: Collector
) -> None:
    principal = await new_principal(services)
    started = await services.chat.send(principal, "long 3", conversation_id=None, model="demo")
    await whole(services, principal, started)
    with tracing.span("outer") as traced:
        traced.note(anything="goes")
    assert collector.spans() == []


def test_other_peoples_libraries_trace_nothing(collector: Collector) -> None:
    _start(collector)
    with trace.get_tracer("litellm").start_as_current_span(CANARY):
        pass
    assert collector.spans() == []


def test_a_collector_that_is_away_holds_nobody_up(collector: Collector) -> None:
    tracing.start("http://127.0.0.1:9", headers={}, share=1.0, environment="development")
    with tracing.span("outer"):
        pass
    tracing.stop()
    with tracing.span("after"):
        pass
    assert collector.spans() == []
