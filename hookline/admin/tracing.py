"""Traces with OpenTelemetry: one from the request through the queue to the worker's function.

The span of the request travels as `traceparent` on the message. The span of a call is its child, in whatever process
that runs; one of a later attempt links to the request as well. Spans are sent in threads of the library, at most 2048
waiting, so neither the ingress nor a worker waits for the collector.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags

from hookline.admin.settings import TracingSettings
from hookline.aio.completion import completion_of
from hookline.runtime.log_context import logged_with
from hookline.schemas.broker import Confirm, Publisher
from hookline.schemas.envelope import TRACE_HEADER, Envelope, trace_of
from hookline.schemas.events import CanonicalEvent
from hookline.workers.api import Call, Delivery, Middleware

_PATH = "/v1/traces"
_SEND_S = 5.0
_CLOSE_S = 5.0


class Tracing:
    """Makes the spans of one process. `role` is its command."""

    def __init__(self, settings: TracingSettings, role: str) -> None:
        resource = Resource.create({"service.name": f"hookline-{role}", "service.version": version("hookline")})
        sampler = ParentBased(TraceIdRatioBased(settings.sample_percent / 100))
        self._provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=settings.endpoint.rstrip("/") + _PATH, timeout=_SEND_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("hookline")

    def publisher(self, publisher: Publisher) -> Publisher:
        """The same publisher, whose events carry the span of their request."""
        return _TracingPublisher(publisher, self._tracer)

    def middleware(self, queue: str) -> Middleware:
        """What goes around the function of a worker."""

        def around(call: Call) -> Call:
            async def traced(event: CanonicalEvent, delivery: Delivery[Any]) -> None:
                with self._handling(queue, event, delivery):
                    await call(event, delivery)

            return traced

        return around

    async def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        closing = asyncio.create_task(asyncio.to_thread(self._provider.shutdown))
        await asyncio.wait([closing], timeout=_CLOSE_S)

    @contextmanager
    def _handling(self, queue: str, event: CanonicalEvent, delivery: Delivery[Any]) -> Iterator[None]:
        request = _span_context(str(delivery.headers.get(TRACE_HEADER, "")))
        links = [Link(request)] if request is not None and delivery.attempt > 1 else []
        attributes: dict[str, str | int] = {
            "messaging.system": "hookline",
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
            "messaging.message.id": event.id,
            "hookline.topic": delivery.topic,
            "hookline.attempt": delivery.attempt,
        }
        name, parent = f"handle {queue}", _within(request)
        span = self._tracer.start_span(name, parent, SpanKind.CONSUMER, attributes, links)
        with _ending(span), logged_with(trace_id=_trace_id(span), event_id=event.id):
            yield


class _TracingPublisher:
    """Implements `schemas.broker.Publisher`. An envelope comes with the `traceparent` of its caller, if any."""

    def __init__(self, publisher: Publisher, tracer: trace.Tracer) -> None:
        self._publisher = publisher
        self._tracer = tracer

    async def publish(self, envelope: Envelope) -> None:
        attributes = {
            "messaging.system": "hookline",
            "messaging.operation.type": "send",
            "messaging.message.id": envelope.id,
            "hookline.source": envelope.source,
            "hookline.topic": envelope.topic,
        }
        parent = _within(_span_context(envelope.traceparent))
        span = self._tracer.start_span(f"receive {envelope.source}", parent, SpanKind.SERVER, attributes)
        with _ending(span):
            await self._publisher.publish(msgspec.structs.replace(envelope, traceparent=_traceparent(span)))

    def begin(self, envelope: Envelope) -> Confirm:
        return completion_of(self.publish(envelope))

    @property
    def ready(self) -> bool:
        return self._publisher.ready

    @property
    def reason(self) -> str:
        return self._publisher.reason


@contextmanager
def _ending(span: trace.Span) -> Iterator[None]:
    """Makes the span current, and ends it. Of an error it has the type only: the text may quote a callback."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def _traceparent(span: trace.Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _trace_id(span: trace.Span) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def _span_context(traceparent: str) -> SpanContext | None:
    """The span that a `traceparent` names; None for one that is absent or malformed."""
    found = trace_of(traceparent)
    if found is None:
        return None
    return SpanContext(int(found.trace_id, 16), int(found.span_id, 16), True, TraceFlags(int(found.flags, 16)))  # noqa: FBT003  it is remote


def _within(parent: SpanContext | None) -> Context:
    """A context in which the parent is current, and nothing else of this process."""
    return Context() if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
