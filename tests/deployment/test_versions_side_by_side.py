"""The last released version and this one, side by side: as they run while a deploy replaces process after process.

Until there is a release, a commit of the main branch stands for it. A change that no such deploy survives needs a note
in docs/upgrading.md, and a younger commit here.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.contract.installations import queue_name
from tests.end_to_end.processes import Process, Project, until
from tests.services.rabbitmq import own_node

ROOT = Path(__file__).parents[2]
BEFORE_RELEASES = "7821381615a6da229892e779175d1523bc8c0221"
_PARTS = ("hookline", "schemas", "ingress", "workers", "broker")
EVENTS = 100


def git(*arguments: str) -> str | None:
    """What git says; None where it has nothing to say, or is not there."""
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run(  # noqa: S603  git, with arguments of this file
        [program, "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def last_release() -> str:
    """The newest tag of a release that this commit descends from."""
    return git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*") or BEFORE_RELEASES


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment in which a command is that of the last release."""
    release, folder = last_release(), tmp_path_factory.mktemp("release")
    if git("cat-file", "-e", f"{release}^{{commit}}") is None:
        pytest.skip(f"the history of git is missing: there is no {release[:10]} to run")
    git("archive", "--output", str(folder / "release.tar"), release, *_PARTS)
    with tarfile.open(folder / "release.tar") as archive:
        archive.extractall(folder, filter="tar")  # its links lead from folder to folder
    environment = {"PYTHONPATH": str(folder)}
    assert asked("import hookline.workers.store as found; print(found.__file__)", environment).startswith(str(folder))
    return environment


def asked(program: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """What a version says of itself."""
    command = [sys.executable, "-P", "-c", program]
    return subprocess.run(  # noqa: S603  our own program
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    ).stdout.strip()


def has_this_layout(old: Mapping[str, str]) -> bool:
    """Whether the last release has the layout of files in SQLite that this version has."""
    layout = "from hookline.sqlite.schema import STEPS; print(len(STEPS))"
    return asked(layout) == asked(layout, old)


pytestmark = pytest.mark.timeout(300)  # each starts several processes, the last release's among them
on_rabbitmq = pytest.mark.parametrize("installation", ["rabbitmq"], indirect=True)


@pytest.fixture(params=["rabbitmq", "embedded"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    if request.param == "embedded":
        made = Project(tmp_path)
        yield made
        made.close()
        return
    node, vhost = own_node(request.config), queue_name()
    node.control("add_vhost", vhost)
    node.control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    made = Project(tmp_path, broker_url=f"{node.url}{vhost}")
    yield made
    made.close()
    node.control("delete_vhost", vhost)


def send(project: Project) -> None:
    sent = project.call("send", "krtc-main", "--count", str(EVENTS))
    assert sent.returncode == 0, sent.stdout + sent.stderr


def handled_by(project: Project) -> Counter[int]:
    """How many events each process handled. Raises AssertionError unless each event was handled once."""
    until(lambda: len(set(project.handled())) >= EVENTS)
    lines = [line.split() for line in project.counted.read_text().splitlines()]
    assert max(Counter(line[0] for line in lines).values()) == 1
    return Counter(int(line[2]) for line in lines)


def pid(process: Process) -> int:
    return process.popen.pid


@on_rabbitmq
def test_a_worker_of_the_last_release_handles_what_this_ingress_accepts(
    installation: Project, old: Mapping[str, str]
) -> None:
    worker = installation.start("worker", "counter.py", environment=old)
    ingress = installation.start("ingress")
    send(installation)
    assert set(handled_by(installation)) == {pid(worker)}
    assert worker.count('"outcome": "parked"') == 0
    assert [worker.stop(), ingress.stop()] == [0, 0]


@on_rabbitmq
def test_this_worker_handles_what_an_ingress_of_the_last_release_accepts(
    installation: Project, old: Mapping[str, str]
) -> None:
    ingress = installation.start("ingress", environment=old)
    worker = installation.start("worker", "counter.py")
    send(installation)
    assert set(handled_by(installation)) == {pid(worker)}
    assert [worker.stop(), ingress.stop()] == [0, 0]


def test_workers_of_both_versions_share_a_queue_and_a_store(installation: Project, old: Mapping[str, str]) -> None:
    """Each event is handled once, whichever version gets it. With a new layout, the old one starts nothing any more."""
    before = installation.start("worker", "counter.py", environment=old)
    now = installation.start("worker", "counter.py")
    installation.start("ingress")
    send(installation)
    shares = handled_by(installation)
    assert set(shares) <= ({pid(before), pid(now)} if has_this_layout(old) else {pid(now)})
    before.stop()
    assert installation.call("send", "krtc-main", "--count", "20").returncode == 0
    until(lambda: len(set(installation.handled())) >= EVENTS + 20)
    assert handled_by(installation)[pid(now)] >= 20


@on_rabbitmq
def test_an_event_that_the_last_release_finished_is_a_repeat_for_this_one(
    installation: Project, old: Mapping[str, str]
) -> None:
    worker = installation.start("worker", "counter.py", environment=old)
    ingress = installation.start("ingress")
    body = installation.folder / "body.json"
    body.write_text(
        '{"noticeId":"1","productId":1,"eventType":101,"notifyMs":1700000000000,'
        '"payload":{"channelName":"lesson","ts":1700000000}}'
    )
    for current in (worker, None):
        if current is None:
            worker.stop()
            current = installation.start("worker", "counter.py")  # noqa: PLW2901  the next version
        assert installation.call("send", "krtc-main", "--body", str(body)).returncode == 0
        until(lambda current=current: current.count('"outcome": "') == 1)  # type: ignore[misc]
    assert len(installation.handled()) == 1
    assert ingress.stop() == 0
