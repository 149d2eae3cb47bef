"""The operator's port of each role, as Prometheus and an orchestrator see it."""

import asyncio
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hookline.schemas import topics
from tests.admin.test_metrics_text import samples
from tests.contract.installations import declare_anew, queue_name
from tests.end_to_end.processes import Process, Project, until
from tests.services.rabbitmq import server_url

TOKEN = "a-token-for-the-operator"


def operators_url(process: Process) -> str:
    process.wait_for("metrics and health on ")
    (line,) = [line for line in process.output if "metrics and health on " in line]
    found = re.search(r"http://[\d.]+:\d+", line)
    assert found
    return found[0]


def get(url: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  our own port
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def metrics(url: str) -> dict[str, float]:
    status, text = get(f"{url}/metrics")
    assert status == 200
    return samples(text.encode())


def test_one_process_shows_what_its_ingress_and_its_workers_do(project: Project) -> None:
    url = operators_url(project.start("run", "counter.py"))
    assert project.call("send", "krtc-main").returncode == 0
    settled = 'hookline_settled_total{outcome="done",queue="counter",reason="handled"}'
    found: dict[str, float] = {}

    def all_are_settled() -> bool:
        found.update(metrics(url))
        return found.get(settled) == found['hookline_received_total{source="krtc-main"}']

    until(all_are_settled)
    assert found[settled] == len(project.handled()) >= 5
    assert found['hookline_received_total{source="krtc-main"}'] == found["hookline_answer_seconds_count"]
    assert found['hookline_published_total{via="broker"}'] == found['hookline_received_total{source="krtc-main"}']
    assert found['hookline_handler_seconds_count{queue="counter"}'] == found[settled]
    assert found['hookline_store_seconds_count{operation="claim"}'] > 0
    assert 0 <= found['hookline_last_received_seconds{source="krtc-main"}'] < 120
    assert found['hookline_last_received_seconds{source="meetings"}'] > 0
    assert found["hookline_ready"] == 1
    until(lambda: 'hookline_queue_ready{queue="counter"}' in metrics(url))
    assert found["process_resident_memory_bytes"] > 0
    assert json.loads(get(f"{url}/readyz")[1]) == {"ready": True, "role": "run", "reasons": []}
    assert get(f"{url}/healthz") == (200, '{"status":"ok"}')


def test_a_refused_request_is_counted_by_its_reason(project: Project) -> None:
    url = operators_url(project.start("run"))
    for path in ("krtc-main", "no-such-source"):
        request = urllib.request.Request(project.url(path), b"{}", {"Content-Type": "application/json"})  # noqa: S310
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)  # noqa: S310  our own port
        refused.value.close()
    place = urlsplit(project.url("krtc-main"))
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as connection:
        connection.sendall(b"this is no HTTP\r\n\r\n")
        assert connection.recv(1000).partition(b" ")[2].startswith(b"400 ")
    found = metrics(url)
    assert found['hookline_refused_total{reason="malformed_request",source="-"}'] == 1
    assert found['hookline_refused_total{reason="missing_signature",source="krtc-main"}'] == 1
    assert found['hookline_refused_total{reason="unknown_source",source="-"}'] == 1


def test_the_supervisor_of_several_processes_answers_for_all(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    project = Project(tmp_path, broker_url=server_url(request.config))
    config = project.config.read_text()
    project.config.write_text(config.replace("# processes = 4", "processes = 2"))
    try:
        process = project.start("ingress")
        url = operators_url(process)
        until(lambda: get(f"{url}/readyz")[0] == 200 and '"reasons":[]' in get(f"{url}/readyz")[1])
        assert project.call("send", "krtc-main", "--count", "20").returncode == 0
        found = metrics(url)
        numbers = {f"{number}" for number in (1, 2)}
        received = {each: found[f'hookline_received_total{{process="{each}",source="krtc-main"}}'] for each in numbers}
        assert sum(received.values()) == 20
        shown = [each for each in json.loads(get(f"{url}/processes")[1]) if each["ready"]]
        assert len({each["pid"] for each in shown}) == 2
        lines = project.call("status").stdout.splitlines()
        assert sum(line.split()[1:2] == ["ingress"] and " yes" in line for line in lines) == 2
        assert process.stop() == 0
    finally:
        project.close()


def test_a_worker_is_ready_while_it_consumes(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    project = Project(tmp_path, broker_url=server_url(request.config))
    try:
        url = operators_url(project.start("worker", "counter.py"))
        assert json.loads(get(f"{url}/readyz")[1]) == {"ready": True, "role": "worker", "reasons": []}
        until(lambda: metrics(url).get('hookline_consumers{queue="counter"}', 0) >= 1)
        assert not [name for name in metrics(url) if "last_received" in name]
    finally:
        project.close()


def test_it_needs_its_token_and_can_be_switched_off(project: Project) -> None:
    config = project.config.read_text()
    project.config.write_text(f'{config}\n[admin]\nhost = "127.0.0.1"\ntoken = "{TOKEN}"\n')
    first = project.start("run")
    url = operators_url(first)
    assert get(f"{url}/metrics")[0] == 401
    assert get(f"{url}/metrics", TOKEN)[0] == 200
    assert TOKEN not in "".join(first.output)
    first.stop()
    project.config.write_text(f"{config}\n[admin]\nport = 0\n")
    second = project.start("run")
    assert project.call("send", "krtc-main").returncode == 0
    second.stop()
    assert not second.count("metrics and health")


def test_it_answers_while_the_public_port_is_flooded(embedded_project: Project) -> None:
    process = embedded_project.start("run")
    url, stop = operators_url(process), threading.Event()
    place = urlsplit(embedded_project.url("krtc-main"))
    address = (place.hostname or "", place.port or 0)
    request = b"POST /hooks/krtc-main HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 4000

    def flood() -> None:
        held: deque[socket.socket] = deque()
        with ExitStack() as sockets:
            while not stop.is_set():
                with suppress(OSError):
                    connection = sockets.enter_context(socket.create_connection(address, timeout=5))
                    held.append(connection)
                    connection.sendall(request)  # and never the rest
                if len(held) > 200:
                    held.popleft().close()

    flooding = [threading.Thread(target=flood, daemon=True) for _ in range(2)]
    for thread in flooding:
        thread.start()
    try:
        for _ in range(10):
            assert get(f"{url}/healthz")[0] == 200
            assert get(f"{url}/readyz")[0] == 200
        assert metrics(url)["hookline_ready"] == 1
    finally:
        stop.set()
        for thread in flooding:
            thread.join(10)


def test_a_worker_that_consumes_nothing_is_not_ready(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A queue in another form cannot be consumed by the worker that wants it, nor declared by it."""
    broker_url = server_url(request.config)
    project = Project(tmp_path, broker_url=broker_url)
    short = queue_name()
    name = topics.queue_name(short)
    worker = project.folder / "counter.py"
    worker.write_text(worker.read_text().replace('queue="counter"', f'queue="{short}"'))
    replaced = declare_anew(
        broker_url,
        lambda channel: channel.queue_delete(name),
        lambda channel: channel.queue_declare(name, durable=True),
    )
    try:
        url = operators_url(project.start("worker", "counter.py"))
        assert get(f"{url}/readyz")[0] == 200
        asyncio.run(replaced)
        until(lambda: get(f"{url}/readyz")[0] == 503)
        reasons = json.loads(get(f"{url}/readyz")[1])["reasons"]
        assert any(name in reason for reason in reasons)
        assert metrics(url)["hookline_ready"] == 0
    finally:
        project.close()
