"""A process that is asked to stop ends in good time, also while a server answers nothing, and loses nothing."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.outage_user import NetEaseUser
from tests.end_to_end.processes import END_S, Process, Project, eventually
from tests.services import postgresql, redis
from tests.services.rabbitmq import own_node
from tests.services.servers import OwnServer

PER_SECOND = 100
INGRESS_ENDS_S = 10.0
"""After that, `docker stop` kills. It takes about four seconds, and took fourteen before closes shared a deadline."""
WORKERS_END_S = 18.0
"""They take about seven seconds, and took twenty to thirty-six."""

WORKERS = '''
"""One worker whose events wait for their next attempt, and one that handles them in order."""

import asyncio
import os

from hookline import Delivery, worker
from hookline.events import RoomCreated


@worker(RoomCreated, queue="failing")
async def failing(event: RoomCreated, delivery: Delivery) -> None:
    await asyncio.sleep(0.02)
    if delivery.attempt == 1:
        raise ValueError("not yet")


@worker(RoomCreated, queue="ordered", ordered=True)
async def ordered(event: RoomCreated, delivery: Delivery) -> None:
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{event.custom}\\n".encode())
    os.close(file)
'''


@contextmanager
def freezing() -> Iterator[Callable[[OwnServer], None]]:
    """Freezes servers until the block ends."""
    with ExitStack() as frozen:

        def freeze(server: OwnServer) -> None:
            frozen.callback(server.thaw)
            server.freeze()

        yield freeze


class Installed:
    """A project on this run's own RabbitMQ, with a user who sends callbacks."""

    def __init__(self, folder: Path, broker_url: str, store_url: str = "sqlite:hookline.db") -> None:
        self.project = Project(folder, broker_url, store_url)
        (folder / "workers.py").write_text(WORKERS)
        (source,) = (each for each in self.project.settings.sources.values() if each.provider.name == "netease")
        self.user = NetEaseUser(self.project.url(source.name), source, PER_SECOND)

    async def start(self, *commands: Sequence[str]) -> list[Process]:
        return [await asyncio.to_thread(self.project.start, *command) for command in commands]

    def handled(self) -> set[int]:
        with suppress(FileNotFoundError):
            return set(map(int, self.project.counted.read_text().split()))
        return set()

    def accepted(self) -> set[int]:
        return {number for numbers in self.user.sent.accepted.values() for number in numbers}


async def stopped(process: Process) -> tuple[int, float]:
    """The exit code of a process that is asked to stop, and how long it took."""
    asked_s = time.monotonic()
    process.popen.terminate()
    code = await asyncio.to_thread(process.popen.wait, END_S)
    return code, time.monotonic() - asked_s


INGRESS, WORKER, RUN = ("ingress",), ("worker", "workers.py"), ("run", "workers.py")


@pytest.mark.parametrize("roles", [[INGRESS, WORKER], [RUN]], ids=["two processes", "one process"])
async def test_a_stop_while_rabbitmq_answers_nothing_ends_soon_and_loses_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, roles: Sequence[Sequence[str]]
) -> None:
    node, url = own_node(request.config), (await fresh_rabbitmq(request.config)).address
    installed = Installed(tmp_path, url)
    try:
        processes = await installed.start(*roles)
        with freezing() as freeze:
            async with installed.user:
                await eventually(lambda: len(installed.handled()) > PER_SECOND)
                freeze(node)
                before = len(installed.user.sent.answers)
                await eventually(lambda: len(installed.user.sent.answers) > before + PER_SECOND)
                ended = await asyncio.gather(*map(stopped, processes))
        assert [code for code, _ in ended] == [0] * len(roles)
        assert ended[0][1] < (INGRESS_ENDS_S if INGRESS in roles else WORKERS_END_S)
        assert ended[-1][1] < WORKERS_END_S
        assert {answer.status for answer in installed.user.sent.answers} <= {200, 0}  # none once it has ended
        assert not any(process.count("unhandled") or process.count("never retrieved") for process in processes)
        await installed.start(*roles)
        await eventually(lambda: installed.accepted() <= installed.handled())
    finally:
        installed.project.close()


@pytest.mark.parametrize("store", [redis, postgresql], ids=["redis", "postgresql"])
async def test_a_worker_ends_soon_while_its_store_answers_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, store: Any
) -> None:
    with store.own_database(request.config) as store_url:
        installed = Installed(tmp_path, (await fresh_rabbitmq(request.config)).address, store_url)
        try:
            _, worker = await installed.start(INGRESS, WORKER)
            async with installed.user:
                await eventually(lambda: len(installed.handled()) > PER_SECOND)
                with freezing() as freeze:
                    freeze(store.own_server(request.config))
                    await asyncio.sleep(1)  # in which events begin to wait for the store
                    code, took_s = await stopped(worker)
            assert (code, took_s < WORKERS_END_S) == (0, True)
            await installed.start(WORKER)
            await eventually(lambda: installed.accepted() <= installed.handled())
        finally:
            installed.project.close()
