"""Several ingress processes share a port and a spool folder: a sibling publishes what a dead one has kept."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from hookline.broker.spool.records import HEADER_BYTES
from tests.chaos.proxy import Proxy
from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.outage_user import NetEaseUser
from tests.end_to_end.processes import Project, eventually
from tests.end_to_end.test_processes import PROCESSES, configure, pids

PER_SECOND = 40
USERS = 3
APART = 1_000_000

WORKER = """
import os

from hookline.events import RoomCreated
from hookline import worker


@worker(RoomCreated, queue="once")
async def once(event: RoomCreated) -> None:
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{event.custom}\\n".encode())
    os.close(file)
"""


@pytest.fixture
async def proxy(request: pytest.FixtureRequest) -> AsyncIterator[Proxy]:
    """The way of the ingress to a fresh RabbitMQ."""
    address = (await fresh_rabbitmq(request.config)).address
    proxy = Proxy(int(address.rpartition(":")[2].partition("/")[0]))
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.mark.timeout(300)
async def test_what_several_processes_keep_is_published_although_one_of_them_is_killed(
    proxy: Proxy, tmp_path: Path
) -> None:
    project = Project(tmp_path, f"amqp://guest:guest@127.0.0.1:{proxy.port}/")
    try:
        await loses_nothing(project, proxy)
    finally:
        project.close()


async def loses_nothing(project: Project, proxy: Proxy) -> None:
    (project.folder / "once.py").write_text(WORKER)
    (source,) = (each for each in project.settings.sources.values() if each.provider.name == "netease")
    await asyncio.to_thread(project.start, "worker", "once.py")
    configure(project)
    ingresses = await asyncio.to_thread(project.start, "ingress")
    await eventually(lambda: ingresses.count("listening on") == PROCESSES)
    away = asyncio.create_task(proxy.cut("reset", 3600))
    await asyncio.sleep(0)
    users = [NetEaseUser(project.url(source.name), source, PER_SECOND, 1 + n * APART) for n in range(USERS)]
    for user in users:  # several, so that each process has connections
        await user.__aenter__()
    await eventually(lambda: len(kept_by(project)) == PROCESSES)
    for user in users:
        await user.__aexit__()
    os.kill(pids(ingresses)[1], signal.SIGKILL)
    away.cancel()
    with suppress(asyncio.CancelledError):
        await away
    accepted = sorted(number for user in users for numbers in user.sent.accepted.values() for number in numbers)
    assert [user.sent.refused for user in users] == [[]] * USERS
    await eventually(lambda: sorted(handled(project)) == accepted)
    await eventually(lambda: not kept_by(project))


def spool(project: Project) -> Path:
    return project.folder / "hookline-spool"


def kept_by(project: Project) -> set[Path]:
    """The folders of the processes that keep something. A running one has a file with a header at least."""
    found = set()
    for path in spool(project).rglob("*.segment"):
        with suppress(FileNotFoundError):  # it was deleted meanwhile
            if path.stat().st_size > HEADER_BYTES:
                found.add(path.parent)
    return found


def handled(project: Project) -> list[int]:
    return [int(line) for line in project.counted.read_text().splitlines()] if project.counted.exists() else []
