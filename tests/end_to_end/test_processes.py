"""Several ingresses behind one port: they share the load, the fallen are replaced, and all end together."""

import os
import re
import signal
import socket
import subprocess
import sys
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


def wish(project: Project, *settings: str) -> None:
    change(project, "[ingress]\n", "\n".join(["[ingress]", f"processes = {PROCESSES}", *settings, ""]))


def open_doors(project: Project) -> Process:
    ingresses = project.start("ingress")
    until(lambda: ingresses.count("listening on") == PROCESSES)
    return ingresses


def pids(ingresses: Process) -> dict[int, int]:
    """The newest process of each number."""
    told = [PID.search(line["message"]) for line in ingresses.lines]
    return {int(match[1]): int(match[2]) for match in told if match}


def all_ended(ingresses: Process) -> bool:
    """Whether nobody is left who could write to the log."""
    ingresses.follower.join(END_S)
    return not ingresses.follower.is_alive()


def begin_callback(project: Project) -> Callable[[], bytes]:
    """A callback of which the last byte is still to come; what is returned sends it, and returns the answer."""
    source = project.settings.sources["krtc-main"]
    callback = next(iter(callbacks_of(source, source.provider.samples, 1)))
    signed = source.provider.sign(callback.body, source, callback.at_s)
    headers = {"Host": "h", "Content-Length": str(len(signed.body)), **signed.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection = socket.create_connection(("127.0.0.1", project.settings.ingress.port), timeout=END_S)
    connection.sendall(f"POST /hooks/krtc-main HTTP/1.1\r\nExpect: 100-continue\r\n{head}\r\n".encode())
    assert b"100 Continue" in connection.recv(100)  # so it is in hand
    connection.sendall(signed.body[:-1])

    def finish() -> bytes:
        with connection:
            connection.sendall(signed.body[-1:])
            return connection.recv(1000)

    return finish


async def test_all_processes_take_callbacks(embedded_project: Project) -> None:
    wish(embedded_project)
    ingresses = open_doors(embedded_project)
    source = embedded_project.settings.sources["krtc-main"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for _ in range(64):
            assert (await send_callback(session, embedded_project.url(source.name), source, UNREADABLE)).status == 200
    until(lambda: ingresses.count("cannot be read") == 64)
    assert {line["process"] for line in ingresses.lines if "cannot be read" in line["message"]} == {1, 2}


async def test_a_killed_process_takes_nothing_with_it_that_was_accepted_and_is_replaced(project: Project) -> None:
    wish(project)
    project.start("worker", "counter.py")
    ingresses = open_doors(project)
    before = pids(ingresses)
    accepted = await send_while(project, lambda: os.kill(before[2], signal.SIGKILL))
    until(lambda: ingresses.count("listening on") == PROCESSES + 1)
    await all_handled(project, accepted)
    assert len(accepted) > CALLBACKS - 100  # the other process went on
    assert pids(ingresses)[1] == before[1]
    assert pids(ingresses)[2] != before[2]


async def test_stopping_all_in_the_middle_loses_none_and_repeats_none(project: Project) -> None:
    wish(project)
    worker, ingresses = project.start("worker", "counter.py"), open_doors(project)
    codes: list[int] = []
    accepted = await send_while(project, lambda: codes.append(ingresses.stop()))
    assert codes == [0]
    assert all_ended(ingresses)
    await all_handled(project, accepted)
    worker.stop()
    assert len(project.handled()) == len(set(project.handled()))


def test_processes_whose_supervisor_is_killed_end_in_order(embedded_project: Project) -> None:
    wish(embedded_project)
    ingresses = open_doors(embedded_project)
    finish = begin_callback(embedded_project)
    ingresses.kill()
    until(lambda: ingresses.count('"stopping"') == PROCESSES)
    assert finish().startswith(b"HTTP/1.1 200")
    assert all_ended(ingresses)


def test_a_signal_that_a_service_manager_sends_to_all_lets_requests_in_hand_finish(embedded_project: Project) -> None:
    wish(embedded_project)
    ingresses = open_doors(embedded_project)
    finish = begin_callback(embedded_project)
    for pid in (*pids(ingresses).values(), ingresses.popen.pid):
        os.kill(pid, signal.SIGTERM)
    until(lambda: ingresses.count('"stopping"') == PROCESSES + 1)
    assert finish().startswith(b"HTTP/1.1 200")
    assert ingresses.popen.wait(END_S) == 0


def test_a_process_that_is_asked_to_end_finishes_what_it_has_in_hand_and_is_replaced(embedded_project: Project) -> None:
    wish(embedded_project)
    ingresses = open_doors(embedded_project)
    before = pids(ingresses)
    finish = begin_callback(embedded_project)
    for pid in before.values():  # one of them has it
        os.kill(pid, signal.SIGTERM)
    until(lambda: ingresses.count('"stopping"') == PROCESSES)
    assert finish().startswith(b"HTTP/1.1 200")
    until(lambda: ingresses.count("listening on") == 2 * PROCESSES)
    assert set(before.values()) & set(pids(ingresses).values()) == set()


def test_a_second_signal_hurries_all(embedded_project: Project) -> None:
    wish(embedded_project, "shutdown_s = 3600", "body_timeout_s = 3600")
    ingresses = open_doors(embedded_project)
    finish = begin_callback(embedded_project)
    ingresses.popen.send_signal(signal.SIGINT)
    until(lambda: ingresses.count('"stopping"') == PROCESSES + 1)
    ingresses.popen.send_signal(signal.SIGINT)
    assert ingresses.popen.wait(END_S) == 0
    assert all_ended(ingresses)
    assert finish() == b""


def test_in_a_log_for_people_each_line_has_the_number_of_its_process(embedded_project: Project) -> None:
    wish(embedded_project)
    command = [sys.executable, "-m", "hookline", "ingress", "--config", str(embedded_project.config), "--process", "7"]
    # Its input has ended, as if its supervisor had.
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=END_S, check=True)  # noqa: S603  our own
    assert {line.split()[1] for line in done.stderr.splitlines()} == {"[7]"}


def test_a_process_that_cannot_be_replaced_is_tried_again_while_another_serves(embedded_project: Project) -> None:
    wish(embedded_project)
    ingresses = open_doors(embedded_project)
    change(embedded_project, "[broker]", "[brokr]")
    os.kill(pids(ingresses)[1], signal.SIGKILL)
    until(lambda: ingresses.count("process 1 ended with exit code 2") == 5)
    change(embedded_project, "[brokr]", "[broker]")
    until(lambda: ingresses.count("listening on") == PROCESSES + 1)
    assert ingresses.stop() == 0


def test_when_none_is_left_and_none_can_be_started_it_is_given_up(embedded_project: Project) -> None:
    wish(embedded_project)
    ingresses = open_doors(embedded_project)
    change(embedded_project, "[broker]", "[brokr]")
    for pid in pids(ingresses).values():
        os.kill(pid, signal.SIGKILL)
    assert ingresses.popen.wait(END_S) == 2
    assert all_ended(ingresses)
    assert ingresses.count("giving up") == 1


def test_a_broker_that_is_away_is_said_once_and_exit_code_3(embedded_project: Project) -> None:
    wish(embedded_project)
    change(embedded_project, "sqlite:hookline.db", "amqp://user:s3cret-password@127.0.0.1:1/")
    done = embedded_project.call("ingress")
    assert done.returncode == 3
    assert done.stderr.count("127.0.0.1:1") == done.stderr.count("hookline: ") == 1
    assert "s3cret-password" not in done.stderr


@pytest.mark.parametrize("other", [1, PROCESSES])
def test_a_port_that_is_taken_is_exit_code_3_though_it_could_be_shared(embedded_project: Project, other: int) -> None:
    wish(embedded_project)
    change(embedded_project, f"processes = {PROCESSES}", f"processes = {other}")
    embedded_project.start("ingress")
    change(embedded_project, f"processes = {other}", f"processes = {PROCESSES}")
    done = embedded_project.call("ingress")
    assert done.returncode == 3
    assert done.stderr.startswith("hookline: cannot listen on")


@pytest.mark.parametrize("count", [0, 65])
def test_a_number_of_processes_that_makes_no_sense_is_exit_code_2(embedded_project: Project, count: int) -> None:
    wish(embedded_project)
    change(embedded_project, f"processes = {PROCESSES}", f"processes = {count}")
    done = embedded_project.call("ingress")
    assert done.returncode == 2
    assert done.stderr.startswith("hookline: ingress.processes: ")


def test_a_port_that_the_system_is_to_choose_cannot_be_shared(embedded_project: Project) -> None:
    wish(embedded_project)
    change(embedded_project, f"port = {embedded_project.settings.ingress.port}", "port = 0")
    done = embedded_project.call("ingress")
    assert done.returncode == 2
    assert "ingress.port: 0 gives each process a port of its own" in done.stderr


def test_door_and_workers_in_one_process_are_not_several(embedded_project: Project) -> None:
    wish(embedded_project)
    done = embedded_project.call("run")
    assert done.returncode == 2
    assert "`hookline run` is one process" in done.stderr
