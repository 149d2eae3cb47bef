"""Traces: from a request through the queue to a worker's function, sent to a collector."""

import gzip
import hmac
import json
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.end_to_end.processes import Process, Project, until

CALLERS_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"
BODY = (
    b'{"noticeId":"1","productId":1,"eventType":101,"notifyMs":1700000000000,'
    b'"payload":{"channelName":"lesson","ts":1700000000}}'
)
WORKER = """
import logging

from hookline import Backoff, Delivery, worker
from hookline.events import Event


@worker(topic="#", queue="billing", retry=Backoff(first_s=0.1))
async def billing(event: Event, delivery: Delivery) -> None:
    logging.getLogger("billing").warning("attempt %d", delivery.attempt)
    if delivery.attempt == 1:
        raise ValueError("a secret of the callback")
"""


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str) -> list[Span]:
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time_unix_nano)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def post(project: Project, **headers: str) -> None:
    settings = tomllib.loads(project.config.read_text())
    secret = settings["sources"]["krtc-main"]["secrets"][0]
    signature = hmac.digest(secret.encode(), BODY, "sha256").hex()
    headers |= {"KRTC-Signature": signature, "Content-Type": "application/json"}
    request = urllib.request.Request(project.url("krtc-main"), BODY, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  our own ingress
        assert response.status == 200


def traced(project: Project, collector: Collector) -> Process:
    (project.folder / "billing.py").write_text(WORKER)
    project.config.write_text(f'[tracing]\nendpoint = "{collector.address}"\n\n{project.config.read_text()}')
    return project.start("run", "billing.py")


def test_one_trace_leads_from_the_caller_to_each_attempt(project: Project, collector: Collector) -> None:
    process = traced(project, collector)
    post(project, traceparent=f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01")
    until(lambda: sum("attempt 2" in line for line in process.output) > 0)
    process.stop()
    (received,) = collector.named("receive krtc-main")
    handled = collector.named("handle billing")
    assert {span.trace_id.hex() for span in (received, *handled)} == {CALLERS_TRACE}
    assert received.parent_span_id.hex() == CALLERS_SPAN
    assert [span.parent_span_id for span in handled] == [received.span_id] * 2
    assert [[link.span_id for link in span.links] for span in handled] == [[], [received.span_id]]
    assert [span.status.code for span in handled] == [2, 0]
    assert b"a secret of the callback" not in b"".join(span.SerializeToString() for span in handled)


def test_json_lines_of_the_log_name_the_trace_and_the_event(project: Project, collector: Collector) -> None:
    process = traced(project, collector)
    post(project, traceparent=f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01")
    until(lambda: any(line.get("outcome") == "handled" and line["queue"] == "billing" for line in process.lines))
    process.stop()
    (theirs,) = [line for line in process.lines if line["message"] == "attempt 2"]
    (ours,) = [line for line in process.lines if line.get("outcome") == "handled" and line["queue"] == "billing"]
    assert ours["trace_id"] == theirs["trace_id"] == CALLERS_TRACE
    assert ours["id"] == theirs["event_id"]


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{CALLERS_SPAN}-01"])
def test_a_request_without_a_usable_trace_begins_one(
    embedded_project: Project, collector: Collector, traceparent: str
) -> None:
    process = traced(embedded_project, collector)
    post(embedded_project, traceparent=traceparent)
    until(lambda: sum("attempt 2" in line for line in process.output) > 0)
    process.stop()
    (received,) = collector.named("receive krtc-main")
    assert received.parent_span_id == b""
    assert len(collector.named("handle billing")) == 2


def test_a_collector_that_is_away_holds_up_nothing(embedded_project: Project, collector: Collector) -> None:
    collector.close()
    process = traced(embedded_project, collector)
    post(embedded_project)
    until(lambda: sum("attempt 2" in line for line in process.output) > 0)
    assert process.stop() == 0


def test_without_tracing_no_message_has_a_trace(embedded_project: Project) -> None:
    (embedded_project.folder / "billing.py").write_text(
        WORKER.replace('attempt %d", delivery.attempt', '%s", sorted(delivery.headers)')
    )
    process = embedded_project.start("run", "billing.py")
    post(embedded_project, traceparent=f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01")
    process.wait_for("hookline-received-at")
    assert "traceparent" not in json.dumps(process.lines)
