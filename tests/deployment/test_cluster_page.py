"""docs/rabbitmq-cluster.md on three real nodes: its configuration, its commands, and an upgrade while callbacks arrive.

`make cluster-test` runs it; three nodes are too much for every run of the tests.
"""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookline.schemas import topics
from tests.docs.pages import ROOT, blocks
from tests.end_to_end.processes import Project, until
from tests.faults.cluster import FORMATION, Cluster, Member
from tests.services.commands import output_of
from tests.services.rabbitmq import programs

PAGE = ROOT / "docs" / "rabbitmq-cluster.md"
VHOST = "hookline"
_COMMAND_S = 120.0
_BURST = 40
HAPROXY = shutil.which("haproxy")
PROGRAMS = ("rabbitmqctl", "rabbitmq-queues", "rabbitmq-upgrade")

long = pytest.mark.skipif("HOOKLINE_TEST_CLUSTER" not in os.environ, reason="`make cluster-test` runs it")


def configuration() -> str:
    (found,) = (block.text for block in blocks(PAGE) if block.language == "ini")
    return found


def steps(marker: str) -> list[list[list[str]]]:
    """The blocks of commands with this marker, each as words."""
    found = [block.text for block in blocks(PAGE) if block.language == "sh" and block.marker == marker]
    return [[shlex.split(line) for line in text.splitlines()] for text in found]


def run(node: Member, words: list[str], names: list[str]) -> str:
    """A command of the page, on a node."""
    for number, name in enumerate(names, 1):
        words = [word.replace(f"rabbit@rabbit-{number}", name) for word in words]
    command = [str(programs() / words[0]), *words[1:]]
    return output_of(command, environment=node.environment, timeout_s=_COMMAND_S)


def test_the_page_forms_the_cluster_that_the_faults_are_provoked_on() -> None:
    assert configuration().startswith(FORMATION)


def test_every_command_of_the_page_is_one_that_the_long_test_runs() -> None:
    marked = [*steps("cluster"), *steps("cluster: each node"), *steps("cluster: each node, started")]
    everything = [block for block in blocks(PAGE) if block.language == "sh"]
    assert len(marked) == len(everything)
    assert {words[0] for commands in marked for words in commands} == set(PROGRAMS)


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy is missing: apt-get install haproxy")
def test_haproxy_accepts_the_load_balancer_of_the_page(tmp_path: Path) -> None:
    assert HAPROXY is not None
    (text,) = (block.text for block in blocks(PAGE) if block.language == "text")
    path = tmp_path / "haproxy.cfg"
    connect = "defaults\n    timeout connect 1s\n\n"
    path.write_text(connect + re.sub(r"rabbit-(\d):", r"127.0.0.\1:", text))
    done = subprocess.run(  # noqa: S603  a program of the machine
        [HAPROXY, "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if any(not (programs() / program).exists() for program in PROGRAMS):
        pytest.skip(f"{', '.join(PROGRAMS)} are not all in {programs()}")
    made = Cluster(configuration())
    yield made
    made.close()


def members_of(cluster: Cluster, queue: str) -> set[str]:
    listed = cluster.nodes[0].control("list_queues", "-p", VHOST, "--silent", "name", "members")
    rows = dict(line.split("\t") for line in listed.splitlines() if line.startswith("hookline."))
    return {node.name for node in cluster.nodes if node.name in rows[queue]}


class Senders:
    """Sends bursts until it is stopped."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.sent = 0
        self.refused: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._stop.is_set():
            done = self.project.call("send", "krtc-main", "--count", str(_BURST))
            if done.returncode:
                self.refused.append(done.stdout + done.stderr)
            self.sent += _BURST

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@long
@pytest.mark.timeout(900)
def test_the_commands_of_the_page_work_and_an_upgrade_refuses_and_loses_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    asyncio.run(cluster.start())
    names = [node.name for node in cluster.nodes]
    form, look, flags, spread, replace = steps("cluster")
    for words in form:
        run(cluster.nodes[0], words, names)
    cluster.nodes[0].control("set_permissions", "-p", VHOST, "guest", ".*", ".*", ".*")
    project = Project(tmp_path, broker_url=f"{cluster.nodes[0].url}{VHOST}")
    urls = ", ".join(f'"{url}{VHOST}"' for url in cluster.urls)
    text = project.config.read_text()
    project.config.write_text(text.replace(f'url = "{cluster.nodes[0].url}{VHOST}"', f"url = [{urls}]", 1))
    try:
        project.start("worker", "counter.py")
        ingress = project.start("ingress")
        for queue in (topics.queue_name("counter"), topics.dead_name("counter"), topics.UNROUTED):
            assert members_of(cluster, queue) == set(names), queue
        for words in (*look, *flags):
            run(cluster.nodes[0], words, names)
        senders = Senders(project)
        (each_node,), (started,) = steps("cluster: each node"), steps("cluster: each node, started")
        for node in cluster.nodes:
            before = senders.sent
            for words in each_node:
                run(node, words, names)
            node.kill()  # it has ended; this forgets its process
            node.start()
            for words in started:
                run(node, words, names)
            until(lambda before=before: senders.sent > before, _COMMAND_S)  # type: ignore[misc]
        senders.stop()
        assert senders.refused == []
        until(lambda: len(set(project.handled())) >= senders.sent, _COMMAND_S)
        assert len(project.handled()) == len(set(project.handled())) == senders.sent
        for words in spread:
            run(cluster.nodes[0], words, names)
        leaders = cluster.nodes[0].control("list_queues", "-p", VHOST, "--silent", "leader").split()
        assert len(set(leaders)) == len(names)
        run(cluster.nodes[0], replace[0], names)
        assert members_of(cluster, topics.UNROUTED) == set(names[:2])
        for words in replace[1:]:
            run(cluster.nodes[0], words, names)
        assert members_of(cluster, topics.UNROUTED) == set(names)
        assert ingress.stop() == 0
    finally:
        project.close()
