"""A user who asks once loses nothing while RabbitMQ restarts, is away, or is away when the ingress starts.

HOOKLINE_OUTAGE_S prolongs each phase; the default is short.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.outage_user import NetEaseUser, Sent
from tests.end_to_end.processes import Process, Project, eventually
from tests.services.rabbitmq import Node, own_node

PHASE_S = float(os.environ.get("HOOKLINE_OUTAGE_S", "2.5"))
PER_SECOND = 200
ANSWERED_S = 1.5
LATER = 1_000_000
"""The numbers of the second user's events begin here."""

WORKER = """
import os

from hookline.events import RoomCreated
from hookline import Delivery, worker


@worker(RoomCreated, queue="ordered", ordered=True)
async def ordered(event: RoomCreated, delivery: Delivery) -> None:
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{event.room_id} {event.custom}\\n".encode())
    os.close(file)
"""


class Installed:
    """A project on this test's own node, with an ordered worker."""

    def __init__(self, project: Project, node: Node) -> None:
        self.project = project
        self.node = node
        (project.folder / "ordered.py").write_text(WORKER)
        (self.source,) = (each for each in project.settings.sources.values() if each.provider.name == "netease")

    def user(self, first: int = 1) -> NetEaseUser:
        return NetEaseUser(self.project.url(self.source.name), self.source, PER_SECOND, first)

    def handled(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        lines = self.project.counted.read_text().splitlines() if self.project.counted.exists() else []
        for room, number in map(str.split, lines):
            found.setdefault(room, []).append(int(number))
        return found


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    node = own_node(request.config)
    yield node
    if node.pid is None:
        node.start()


@pytest.fixture
async def installed(request: pytest.FixtureRequest, tmp_path: Path, node: Node) -> AsyncIterator[Installed]:
    project = Project(tmp_path, (await fresh_rabbitmq(request.config)).address)
    yield Installed(project, node)
    project.close()


def merged(*users: NetEaseUser) -> dict[str, list[int]]:
    return {room: [n for user in users for n in user.sent.accepted.get(room, [])] for room in users[0].sent.accepted}


def check_answers(sent: Sent) -> None:
    assert sent.refused == []
    late = sorted(sent.seconds)[int(len(sent.seconds) * 0.999) :]
    assert late[0] < ANSWERED_S + 0.4, late  # 0.4 s for a busy machine; NetEase itself gives up after 2 s


@pytest.mark.timeout(300)
async def test_a_user_who_asks_once_loses_nothing_in_a_restart_a_pause_and_an_outage(installed: Installed) -> None:
    project, node = installed.project, installed.node
    worker = project.start("worker", "ordered.py")
    ingress = project.start("ingress")
    async with installed.user() as user:
        await asyncio.sleep(PHASE_S)
        await asyncio.to_thread(node.control, "stop_app")
        await asyncio.sleep(PHASE_S)
        await asyncio.to_thread(node.control, "start_app")
        await asyncio.sleep(PHASE_S)
        await asyncio.to_thread(node.freeze)  # connections stay open, and confirms come late
        await asyncio.sleep(PHASE_S)
        await asyncio.to_thread(node.thaw)
        await asyncio.sleep(PHASE_S)
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(PHASE_S)
    check_answers(user.sent)
    ingress.kill()
    ingress = await asyncio.to_thread(project.start, "ingress")
    assert ingress.count("starting without RabbitMQ")
    async with installed.user(first=LATER) as later:
        await asyncio.sleep(PHASE_S)
        await asyncio.to_thread(node.start)
        await eventually(lambda: installed.handled() != {} and total(installed) >= user.sent.total)
        await asyncio.sleep(PHASE_S)
    check_answers(later.sent)
    accepted = merged(user, later)
    await eventually(lambda: total(installed) >= sum(map(len, accepted.values())))
    assert installed.handled() == accepted
    stopped: list[Process] = [ingress, worker]
    assert [process.stop() for process in stopped] == [0, 0]
    assert ingress.count("stay in the spool") == 0
    assert [path for path in (project.folder / "hookline-spool").rglob("*") if path.is_file()] == []


def total(installed: Installed) -> int:
    return sum(map(len, installed.handled().values()))
