"""What a service manager such as systemd hears from each role, on a socket as systemd makes it."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hookline.runtime.service_manager import ServiceManager
from tests.end_to_end.processes import Project, until
from tests.end_to_end.test_processes import PROCESSES, change, configure
from tests.services.servers import free_ports


class Manager:
    """Notes each assignment that arrives at its socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):  # it was closed
            while text := self._socket.recv(4096).decode():
                self.heard += [line for line in text.split("\n") if line != "STATUS="]

    def environment(self, watchdog_s: float = 0) -> dict[str, str]:
        watchdog = {"WATCHDOG_USEC": f"{watchdog_s * 1e6:.0f}"} if watchdog_s else {}
        return {"NOTIFY_SOCKET": str(self.path), **watchdog}

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.mark.parametrize("command", [("worker", "counter.py"), ("ingress",), ("run", "counter.py")], ids=" ".join)
def test_it_hears_when_a_process_is_ready_reads_settings_and_stops(
    embedded_project: Project, manager: Manager, command: tuple[str, ...]
) -> None:
    process = embedded_project.start(*command, environment=manager.environment())
    until(lambda: manager.heard == ["READY=1"])
    process.popen.send_signal(signal.SIGHUP)
    until(lambda: len(manager.heard) == 4)
    assert manager.heard[1] == "RELOADING=1"
    assert manager.heard[2].startswith("MONOTONIC_USEC=")
    assert manager.heard[3] == "READY=1"
    assert process.stop() == 0
    assert manager.heard[4:] == ["STOPPING=1", "STATUS=stopping"]


def test_it_hears_only_the_supervisor_of_several_processes(embedded_project: Project, manager: Manager) -> None:
    configure(embedded_project)
    ingresses = embedded_project.start("ingress", environment=manager.environment())
    until(lambda: ingresses.count("listening on") == PROCESSES)
    assert ingresses.stop() == 0
    assert manager.heard == ["READY=1", "STOPPING=1", "STATUS=stopping"]


def test_a_worker_without_its_broker_is_not_ready_and_says_why(embedded_project: Project, manager: Manager) -> None:
    (port,) = free_ports(1)
    change(embedded_project, 'url = "sqlite:hookline.db"', f'url = "amqp://guest:guest@127.0.0.1:{port}/"')
    worker = embedded_project.start("worker", "counter.py", ready="waiting, and", environment=manager.environment())
    until(lambda: bool(manager.heard))
    worker.popen.send_signal(signal.SIGHUP)
    worker.wait_for("were read anew")
    assert worker.stop() == 0
    assert f"STATUS=waiting: RabbitMQ at 127.0.0.1:{port}: " in manager.heard[0]
    assert not [text for text in manager.heard if "READY" in text or "RELOADING" in text]


def test_the_watchdog_hears_a_loop_that_runs_and_none_that_is_frozen(
    embedded_project: Project, manager: Manager
) -> None:
    process = embedded_project.start("ingress", environment=manager.environment(watchdog_s=0.3))
    until(lambda: manager.heard.count("WATCHDOG=1") > 3)
    process.popen.send_signal(signal.SIGSTOP)
    until(lambda: not _hears_more(manager))
    process.popen.send_signal(signal.SIGCONT)
    until(lambda: _hears_more(manager))
    assert process.stop() == 0


def _hears_more(manager: Manager) -> bool:
    before = len(manager.heard)
    with suppress(AssertionError):
        until(lambda: len(manager.heard) > before, 1.0)
    return len(manager.heard) > before


def test_the_variables_are_taken_away_from_processes_that_are_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}.items():
        monkeypatch.setenv(name, value)
    ServiceManager.of_environment()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
