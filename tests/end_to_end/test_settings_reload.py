"""SIGHUP reads the settings and secrets anew while a process runs."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import trustme

from hookline.cli.sample_callbacks import callbacks_of, send_callback
from tests.contract.installations import fresh_rabbitmq, queue_name
from tests.end_to_end.processes import END_S, Process, Project, eventually, until
from tests.end_to_end.test_operators_port import get, metrics, operators_url
from tests.end_to_end.test_processes import PROCESSES, change, start_ingresses
from tests.services.rabbitmq import Node, own_node

READ = "the settings were read anew; changed sources: "


async def status(project: Project) -> int:
    """The answer to a callback that is signed with the secret of the settings file as it is now."""
    source = project.settings.sources["krtc-main"]
    callback = next(callbacks_of(source, source.provider.samples, 1))
    async with aiohttp.ClientSession() as session:
        return (await send_callback(session, project.url("krtc-main"), source, callback)).status


def new_secret(project: Project, secret: str) -> None:
    (old,) = project.settings.sources["krtc-main"].keys
    change(project, old.decode(), secret)


def reread(process: Process, text: str, times: int = 1) -> None:
    process.popen.send_signal(signal.SIGHUP)
    until(lambda: process.count(text) >= times)


async def test_a_new_secret_holds_from_the_next_request_on(embedded_project: Project) -> None:
    ingress = embedded_project.start("ingress")
    new_secret(embedded_project, "a-new-secret-of-some-length")
    assert await status(embedded_project) == 401
    reread(ingress, f"{READ}krtc-main")
    assert await status(embedded_project) == 200
    assert ingress.count("a-new-secret") == 0


async def test_a_supervisor_has_all_processes_read_the_settings(embedded_project: Project) -> None:
    ingresses = start_ingresses(embedded_project)
    new_secret(embedded_project, "a-new-secret-of-some-length")
    reread(ingresses, f"{READ}krtc-main", PROCESSES)
    for _ in range(10):  # each on a connection of its own, to any of the processes
        assert await status(embedded_project) == 200


async def test_a_bad_file_keeps_the_old_settings(embedded_project: Project) -> None:
    ingress = embedded_project.start("ingress")
    change(embedded_project, "[broker]", "[brokr]")
    reread(ingress, "brokr: there is no such setting; did you mean broker?")
    assert ingress.count("the settings stay as they were: ") == 1
    change(embedded_project, "[brokr]", "[broker]")
    assert await status(embedded_project) == 200
    assert ingress.stop() == 0


@pytest.mark.parametrize("processes", [1, PROCESSES])
def test_a_bad_certificate_keeps_all_settings(embedded_project: Project, processes: int) -> None:
    ca, folder = trustme.CA(), embedded_project.folder
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
    set_token(embedded_project, OLD)
    listening = f'[ingress]\nprocesses = {processes}\ntls_certificate = "tls.pem"\n'
    change(embedded_project, "[ingress]\n", listening)
    ingress = embedded_project.start("ingress")
    until(lambda: ingress.count("listening on") == processes)
    url = operators_url(ingress)
    set_token(embedded_project, NEW)
    (folder / "tls.pem").write_text("zebra")
    reread(ingress, "the settings stay as they were: ingress.tls_certificate: ")
    assert [get(f"{url}/healthz", token)[0] for token in (OLD, NEW)] == [200, 401]
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
    reread(ingress, CHANGED, processes)
    assert [get(f"{url}/healthz", token)[0] for token in (OLD, NEW)] == [401, 200]


WAITING_START = """
import asyncio
import pathlib

from hookline.runtime.installation import Installation

opening = Installation.ingress_publisher


async def slowly(self, broker):
    pathlib.Path("loading").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    return await opening(self, broker)


Installation.ingress_publisher = slowly

from hookline.__main__ import main

main()
"""
"""Hookline, with an ingress that opens once it may."""


def test_the_metrics_have_the_sources_of_settings_that_were_read_anew_during_the_start(
    embedded_project: Project,
) -> None:
    (embedded_project.folder / "waiting_start.py").write_text(WAITING_START)
    ingress = embedded_project.start("ingress", ready="", module=("waiting_start",))
    until((embedded_project.folder / "loading").exists)
    change(embedded_project, "[sources.krtc-main]", "[sources.renamed]")
    reread(ingress, f"{READ}krtc-main, renamed")
    (embedded_project.folder / "go").touch()
    ingress.wait_for("queue: ")
    found = metrics(operators_url(ingress))
    assert 'hookline_last_received_seconds{source="renamed"}' in found
    assert 'hookline_last_received_seconds{source="krtc-main"}' not in found


def test_the_metrics_have_the_sources_of_the_settings_as_they_are_now(embedded_project: Project) -> None:
    ingress = embedded_project.start("ingress")
    url = operators_url(ingress)
    age = 'hookline_last_received_seconds{{source="{}"}}'.format
    until(lambda: age("krtc-main") in metrics(url))
    change(embedded_project, "[sources.krtc-main]", "[sources.renamed]")
    reread(ingress, f"{READ}krtc-main, renamed")
    found = metrics(url)
    assert age("renamed") in found
    assert age("krtc-main") not in found
    assert found['hookline_id_conflicts_total{source="renamed"}'] == 0


OLD, NEW = "the-first-token-of-the-operator", "another-token-of-the-operator"
CHANGED = "admin.token changed"


def set_token(project: Project, text: str) -> None:
    """The settings name a file, as a secret that is rotated should be kept."""
    (project.folder / "token").write_text(f"{text}\n")
    if "\n[admin]\n" not in project.config.read_text():
        change(project, "[ingress]\n", '[admin]\ntoken = "file:token"\n\n[ingress]\n')


def test_a_new_token_of_the_operators_port_holds_from_the_next_request_on(embedded_project: Project) -> None:
    set_token(embedded_project, OLD)
    worker = embedded_project.start("worker", "counter.py")
    url = operators_url(worker)
    assert [get(f"{url}/healthz", token)[0] for token in (OLD, NEW, "")] == [200, 401, 401]
    set_token(embedded_project, NEW)
    reread(worker, CHANGED)
    assert [get(f"{url}/healthz", token)[0] for token in (OLD, NEW, "")] == [401, 200, 401]
    assert worker.count("only at a restart") == 0
    assert worker.count(NEW) == 0


def test_a_supervisor_takes_the_new_token_for_all_processes(embedded_project: Project) -> None:
    set_token(embedded_project, OLD)
    ingresses = start_ingresses(embedded_project)
    url = operators_url(ingresses)
    set_token(embedded_project, NEW)
    reread(ingresses, CHANGED, PROCESSES)
    assert [get(f"{url}/metrics", token)[0] for token in (OLD, NEW, "")] == [401, 200, 401]


def test_a_reachable_port_never_loses_its_token(embedded_project: Project) -> None:
    """The file is right by itself: its host is loopback. The process still listens where others can reach it."""
    set_token(embedded_project, OLD)
    change(embedded_project, "\n[admin]\n", '\n[admin]\nhost = "0.0.0.0"\n')
    worker = embedded_project.start("worker", "counter.py")
    url = operators_url(worker)
    change(embedded_project, 'host = "0.0.0.0"\ntoken = "file:token"\n', "")
    reread(worker, "admin.token: it is missing, and others can reach 0.0.0.0")
    assert [get(f"{url}/healthz", token)[0] for token in (OLD, "")] == [200, 401]


def test_what_changes_only_at_a_restart_is_said(embedded_project: Project) -> None:
    worker = embedded_project.start("worker", "counter.py")
    change(embedded_project, "[ingress]\n", "[ingress]\ndrain_s = 7\n")
    reread(worker, "these settings change only at a restart: ingress.drain_s")
    assert worker.stop() == 0


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Node:
    return own_node(request.config)


@pytest.fixture
def user(node: Node) -> Iterator[str]:
    name = queue_name()
    node.control("add_user", name, "first")
    node.control("set_permissions", name, ".*", ".*", ".*")
    yield name
    node.control("delete_user", name)


async def test_a_worker_uses_a_new_password_of_the_broker(
    node: Node, user: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await fresh_rabbitmq(request.config)
    (tmp_path / "password").write_text("first\n")
    project = Project(tmp_path, f"amqp://{user}:${{file:password}}@127.0.0.1:{node.port}/")
    try:
        worker = project.start("worker", "counter.py")
        node.control("change_password", user, "se/cond@#%")
        node.control("close_all_connections", "test")
        await eventually(lambda: worker.count("it refused the user or password") > 0)
        (tmp_path / "password").write_text("se/cond@#%\n")
        reread(worker, "broker.url changed: the next connection uses it")
        await eventually(lambda: worker.count("to RabbitMQ is back") == 2)
        assert worker.count("cond@") == 0
        worker.kill()
    finally:
        project.close()


def test_the_end_of_a_terminal_stops_the_process(embedded_project: Project) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hookline", "run", "--log", "json", "--config", str(embedded_project.config)]
    with subprocess.Popen(  # noqa: S603  our own command
        command, stdin=theirs, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as popen:
        process = Process(popen)
        os.close(theirs)
        until(lambda: process.count("queue: ") == 1)
        popen.send_signal(signal.SIGHUP)
        until(lambda: process.count(READ) == 1)
        os.close(ours)
        popen.send_signal(signal.SIGHUP)
        assert popen.wait(END_S) == 0
        process.follower.join(END_S)
    assert process.count('"stopping"') == 1
