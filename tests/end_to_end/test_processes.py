"""Several ingress processes on one port: they share the load, dead ones are replaced, and all stop together."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import aiohttp
import pytest

from hookline.cli.sample_callbacks import Callback, callbacks_of, send_callback
from tests.end_to_end.processes import END_S, Process, Project, until
from tests.end_to_end.test_crashes import CALLBACKS, all_handled, send_while

PROCESSES = 2
PID = re.compile(r"process (\d+) has pid (\d+)")
UNREADABLE = Callback("unreadable", b"{", 0)


def change(project: Project, old: str, new: str) -> None:
    text = project.config.read_text()
    assert old in text
    project.config.write_text(text.replace(old, new, 1))


def configure(project: Project, *settings: str) -> None:
    change(project, "[ingress]\n", "\n".join(["[ingress]", f"processes = {PROCESSES}", *settings, ""]))


def start_ingresses(project: Project, *settings: str) -> Process:
    """All processes of an ingress, once they listen."""
    configure(project, *settings)
    ingresses = project.start("ingress")
    until(lambda: ingresses.count("listening on") == PROCESSES)
    return ingresses


def pids(ingresses: Process) -> dict[int, int]:
    """The newest process id of each number."""
    started = [PID.search(line["message"]) for line in ingresses.lines]
    return {int(match[1]): int(match[2]) for match in started if match}


def all_ended(ingresses: Process) -> bool:
    """Whether no process is left that could write to the log."""
    ingresses.follower.join(END_S)
    return not ingresses.follower.is_alive()


def begin_callback(project: Project) -> Callable[[], bytes]:
    """Send a callback without its last byte. Returns a function that sends the byte and returns the answer."""
    source = project.settings.sources["krtc-main"]
    callback = next(iter(callbacks_of(source, source.provider.samples, 1)))
    signed = source.provider.sign(callback.body, source, callback.at_s)
    headers = {"Host": "h", "Content-Length": str(len(signed.body)), **signed.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection = socket.create_connection(("127.0.0.1", project.settings.ingress.port), timeout=END_S)
    connection.sendall(f"POST /hooks/krtc-main HTTP/1.1\r\nExpect: 100-continue\r\n{head}\r\n".encode())
    assert b"100 Continue" in connection.recv(100)  # so it is in flight
    connection.sendall(signed.body[:-1])

    def finish() -> bytes:
        with connection:
            connection.sendall(signed.body[-1:])
            return connection.recv(1000)

    return finish


async def test_all_processes_receive_callbacks(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project)
    source = embedded_project.settings.sources["krtc-main"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for _ in range(64):
            assert (await send_callback(session, embedded_project.url(source.name), source, UNREADABLE)).status == 200
    until(lambda: {line["process"] for line in ingresses.lines if "cannot be read" in line["message"]} == {1, 2})


async def test_a_killed_process_loses_no_accepted_event_and_is_replaced(project: Project) -> None:
    project.start("worker", "counter.py")
    ingresses = start_ingresses(project)
    before = pids(ingresses)
    accepted = await send_while(project, lambda: os.kill(before[2], signal.SIGKILL))
    until(lambda: ingresses.count("listening on") == PROCESSES + 1)
    await all_handled(project, accepted)
    assert len(accepted) > CALLBACKS - 100  # the other process kept receiving
    assert pids(ingresses)[1] == before[1]
    assert pids(ingresses)[2] != before[2]


async def test_a_stop_in_the_middle_loses_and_repeats_no_event(project: Project) -> None:
    worker, ingresses = project.start("worker", "counter.py"), start_ingresses(project)
    codes: list[int] = []
    accepted = await send_while(project, lambda: codes.append(ingresses.stop()))
    assert codes == [0]
    assert all_ended(ingresses)
    await all_handled(project, accepted)
    worker.stop()
    assert len(project.handled()) == len(set(project.handled()))


def test_processes_whose_supervisor_is_killed_drain_and_end(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project)
    finish = begin_callback(embedded_project)
    ingresses.kill()
    until(lambda: ingresses.count('"stopping"') == PROCESSES)
    assert finish().startswith(b"HTTP/1.1 200")
    assert all_ended(ingresses)


def test_a_signal_from_a_service_manager_to_all_processes_lets_requests_in_flight_finish(
    embedded_project: Project,
) -> None:
    ingresses = start_ingresses(embedded_project)
    finish = begin_callback(embedded_project)
    for pid in (*pids(ingresses).values(), ingresses.popen.pid):
        os.kill(pid, signal.SIGTERM)
    until(lambda: ingresses.count('"stopping"') == PROCESSES + 1)
    assert finish().startswith(b"HTTP/1.1 200")
    assert ingresses.popen.wait(END_S) == 0


def test_a_process_that_gets_a_signal_finishes_its_requests_in_flight_and_is_replaced(
    embedded_project: Project,
) -> None:
    ingresses = start_ingresses(embedded_project)
    before = pids(ingresses)
    finish = begin_callback(embedded_project)
    for pid in before.values():  # one of them has the request
        os.kill(pid, signal.SIGTERM)
    until(lambda: ingresses.count('"stopping"') == PROCESSES)
    assert finish().startswith(b"HTTP/1.1 200")
    until(lambda: ingresses.count("listening on") == 2 * PROCESSES)
    assert set(before.values()) & set(pids(ingresses).values()) == set()


def test_a_second_signal_ends_all_without_draining(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project, "shutdown_s = 3600", "body_timeout_s = 3600")
    finish = begin_callback(embedded_project)
    ingresses.popen.send_signal(signal.SIGINT)
    until(lambda: ingresses.count('"stopping"') == PROCESSES + 1)
    until(lambda: drains_no_more(ingresses))
    assert ingresses.popen.wait(END_S) == 0
    assert all_ended(ingresses)
    assert finish() == b""


def drains_no_more(ingresses: Process) -> bool:
    """Whether a process stops without draining; if not, send another signal."""
    if ingresses.count("without draining"):
        return True
    ingresses.popen.send_signal(signal.SIGINT)
    return False


@pytest.mark.parametrize("several", [pytest.param(True, id="several processes"), pytest.param(False, id="one process")])
def test_two_signals_within_a_second_are_one(embedded_project: Project, *, several: bool) -> None:
    ingresses = start_ingresses(embedded_project) if several else embedded_project.start("ingress")
    finish = begin_callback(embedded_project)
    for _ in range(3):  # GNU timeout sends one to the process, and one to its group
        ingresses.popen.send_signal(signal.SIGTERM)
    until(lambda: ingresses.count('"stopping"') == (PROCESSES + 1 if several else 1))
    assert finish().startswith(b"HTTP/1.1 200")
    assert ingresses.popen.wait(END_S) == 0
    assert ingresses.count("without draining") == 0


def test_a_frozen_process_is_killed_and_replaced(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project)
    before = pids(ingresses)
    os.kill(before[1], signal.SIGSTOP)
    until(lambda: ingresses.count("listening on") == PROCESSES + 1)
    assert ingresses.count(f"process 1 with pid {before[1]} has said nothing for seconds") == 1
    assert pids(ingresses)[1] != before[1]
    assert pids(ingresses)[2] == before[2]


def test_processes_outlive_a_pause_of_their_supervisor(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project)
    ingresses.popen.send_signal(signal.SIGSTOP)
    time.sleep(7)  # longer than a process may be silent
    ingresses.popen.send_signal(signal.SIGCONT)
    assert ingresses.stop() == 0
    assert ingresses.count("has said nothing") == 0


def test_each_line_of_a_text_log_has_the_number_of_its_process(embedded_project: Project) -> None:
    configure(embedded_project)
    command = [sys.executable, "-m", "hookline", "ingress", "--config", str(embedded_project.config), "--process", "7"]
    # The end of stdin stops the process, as the end of its supervisor would.
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=END_S, check=True)  # noqa: S603  our own
    assert {line.split()[1] for line in done.stderr.splitlines()} == {"[7]"}


def test_a_failed_replacement_is_retried_while_another_process_serves(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project)
    change(embedded_project, "[broker]", "[brokr]")
    os.kill(pids(ingresses)[1], signal.SIGKILL)
    until(lambda: ingresses.count("process 1 ended with exit code 2") == 5)
    change(embedded_project, "[brokr]", "[broker]")
    until(lambda: ingresses.count("listening on") == PROCESSES + 1)
    assert ingresses.stop() == 0


def test_the_supervisor_gives_up_when_no_process_is_left_and_none_can_start(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project)
    change(embedded_project, "[broker]", "[brokr]")
    for pid in pids(ingresses).values():
        os.kill(pid, signal.SIGKILL)
    assert ingresses.popen.wait(END_S) == 2
    assert all_ended(ingresses)
    assert ingresses.count("giving up") == 1


def test_an_unreachable_broker_is_logged_once_and_exit_code_3(embedded_project: Project) -> None:
    configure(embedded_project)
    change(embedded_project, "sqlite:hookline.db", "amqp://user:s3cret-password@127.0.0.1:1/")
    done = embedded_project.call("ingress", "--fail-fast")
    assert done.returncode == 3
    assert done.stderr.count("127.0.0.1:1") == done.stderr.count("hookline: ") == 1
    assert "s3cret-password" not in done.stderr


@pytest.mark.parametrize(
    "other", [pytest.param(1, id="by one process"), pytest.param(PROCESSES, id="by several processes")]
)
def test_a_port_in_use_is_exit_code_3_even_if_it_could_be_shared(embedded_project: Project, other: int) -> None:
    configure(embedded_project)
    change(embedded_project, f"processes = {PROCESSES}", f"processes = {other}")
    embedded_project.start("ingress")
    change(embedded_project, f"processes = {other}", f"processes = {PROCESSES}")
    done = embedded_project.call("ingress")
    assert done.returncode == 3
    assert done.stderr.startswith("hookline: cannot listen on")


@pytest.mark.parametrize("count", [pytest.param(0, id="none"), pytest.param(65, id="too many")])
def test_a_number_of_processes_out_of_range_is_exit_code_2(embedded_project: Project, count: int) -> None:
    configure(embedded_project)
    change(embedded_project, f"processes = {PROCESSES}", f"processes = {count}")
    done = embedded_project.call("ingress")
    assert done.returncode == 2
    assert "ingress.processes: expected a whole number" in done.stderr


def test_a_port_chosen_by_the_system_cannot_be_shared(embedded_project: Project) -> None:
    configure(embedded_project)
    change(embedded_project, f"port = {embedded_project.settings.ingress.port}", "port = 0")
    done = embedded_project.call("ingress")
    assert done.returncode == 2
    assert "ingress.port: 0 gives each process a port of its own" in done.stderr


def test_run_refuses_several_processes(embedded_project: Project) -> None:
    configure(embedded_project)
    done = embedded_project.call("run")
    assert done.returncode == 2
    assert "`hookline run` is one process" in done.stderr
