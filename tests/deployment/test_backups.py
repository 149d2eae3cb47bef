"""What docs/upgrading.md says of backups: what each of them brings back, and what is lost by restoring it."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.installations import queue_name
from tests.end_to_end.processes import Process, Project, until
from tests.services.rabbitmq import Node, own_node

DUPLICATE = '"outcome": "duplicate"'


def callback(project: Project, number: int) -> str:
    """The path of a body of its own."""
    path = project.folder / f"body-{number}.json"
    notice = {"noticeId": f"{number}", "productId": 1, "eventType": 101, "notifyMs": 1_700_000_000_000}
    path.write_text(json.dumps({**notice, "payload": {"channelName": f"lesson-{number}", "ts": 1_700_000_000}}))
    return str(path)


def send(project: Project, *numbers: int) -> None:
    for number in numbers:
        sent = project.call("send", "krtc-main", "--body", callback(project, number))
        assert sent.returncode == 0, sent.stdout + sent.stderr


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.close()


def test_a_backup_of_sqlite_knows_what_was_finished_before_it_and_nothing_later(embedded: Project) -> None:
    database, backup = embedded.folder / "hookline.db", embedded.folder / "hookline-backup.db"
    process = embedded.start("run", "counter.py")
    send(embedded, 1)
    until(lambda: len(embedded.handled()) == 1)
    until(lambda: process.count('"queue": "rooms", "attempt": 1') == 1)
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)  # what `.backup` of the command line does
    send(embedded, 2)
    until(lambda: len(embedded.handled()) == 2)
    assert process.stop() == 0
    for path in embedded.folder.glob("hookline.db*"):
        path.unlink()
    shutil.copy(backup, database)
    again = embedded.start("run", "counter.py")
    send(embedded, 1, 2)
    until(lambda: again.count('"queue": "counter", "attempt": 1') >= 2)
    assert len(embedded.handled()) == 3  # the second one once more
    assert len(set(embedded.handled())) == 2
    assert again.stop() == 0


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Node:
    return own_node(request.config)


@pytest.fixture
def vhost(node: Node) -> Iterator[str]:
    """The name of a virtual host that does not exist yet."""
    name = queue_name()
    yield name
    node.control("delete_vhost", name)


@pytest.fixture
def project(node: Node, vhost: str, tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path, broker_url=f"{node.url}{vhost}")
    yield made
    made.close()


def add(node: Node, vhost: str) -> None:
    node.control("add_vhost", vhost)
    node.control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")


def restarted(project: Project) -> Process:
    process = project.start("ingress")
    until(lambda: process.count("the spool is empty again") > 0)
    return process


def test_a_copy_of_the_spool_is_published_again_and_handled_once(node: Node, vhost: str, project: Project) -> None:
    spool, copy = project.folder / "hookline-spool", project.folder / "copy"
    ingress = project.start("ingress")  # RabbitMQ refuses the virtual host: all goes to the spool
    send(project, 1, 2, 3)
    assert ingress.stop() == 0
    shutil.copytree(spool, copy)
    add(node, vhost)
    worker = project.start("worker", "counter.py")
    assert restarted(project).stop() == 0
    until(lambda: len(project.handled()) == 3)
    shutil.rmtree(spool)
    shutil.copytree(copy, spool)
    assert restarted(project).stop() == 0
    until(lambda: worker.count(DUPLICATE) == 3)
    assert len(project.handled()) == 3


def test_definitions_bring_back_queues_and_users_and_no_message(node: Node, vhost: str, project: Project) -> None:
    add(node, vhost)
    worker = project.start("worker", "counter.py")
    assert worker.stop() == 0
    ingress = project.start("ingress")
    send(project, 1, 2)
    assert ingress.stop() == 0
    until(lambda: listed(node, vhost)["hookline.counter"] == 2)  # RabbitMQ counts now and then
    before = listed(node, vhost)
    path = str(project.folder / "definitions.json")
    node.control("export_definitions", path)
    assert "guest:" not in Path(path).read_text()
    node.control("delete_vhost", vhost)
    node.control("import_definitions", path)
    after = listed(node, vhost)
    assert set(after) == set(before)
    assert after["hookline.counter"] == 0
    assert project.start("worker", "counter.py").stop() == 0


def listed(node: Node, vhost: str) -> dict[str, int]:
    """The messages of each queue."""
    rows = node.control("list_queues", "-p", vhost, "--silent", "name", "messages").splitlines()
    return {name: int(messages) for name, messages in (row.split("\t") for row in rows)}
