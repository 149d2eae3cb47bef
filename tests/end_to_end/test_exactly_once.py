"""Workers on several machines share a store in PostgreSQL or Redis. Here they are processes on one machine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest

from tests.contract.installations import RabbitMQInstallation
from tests.end_to_end.processes import Project, eventually
from tests.services import postgresql, rabbitmq, redis

CALLBACKS = 2000
PROCESSES = 4

COUNTING = '''
"""Inserts a row for each event in the transaction that completes it, and fails in one of twenty cases."""

import random

from hookline.events import ParticipantJoined
from hookline import Backoff, Delivery, worker


@worker(ParticipantJoined, queue="counting", transactional=True, retry=Backoff(first_s=0.2, factor=1, attempts=20))
async def counting(event: ParticipantJoined, delivery: Delivery) -> None:
    await delivery.transaction.execute("INSERT INTO counted VALUES (%s)", (event.id,))
    if random.random() < 0.05:
        raise ConnectionError
'''


@pytest.fixture
async def postgresql_url(pytestconfig: pytest.Config) -> AsyncIterator[str]:
    """A database with an empty table `counted`."""
    url = postgresql.server_url(pytestconfig)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS counted")
        await connection.execute(
            "CREATE TABLE counted (id text NOT NULL)"
        )  # without a constraint that prevents duplicates
        yield url
        await connection.execute("DROP TABLE counted")


@pytest.fixture
async def project_with(tmp_path: Path, pytestconfig: pytest.Config) -> AsyncIterator[Callable[[str], Project]]:
    """Makes a project on RabbitMQ with the store at a URL."""
    url = rabbitmq.server_url(pytestconfig)
    await RabbitMQInstallation(url).clear()
    projects: list[Project] = []

    def make(store_url: str) -> Project:
        projects.append(Project(tmp_path, url, store_url))
        return projects[-1]

    yield make
    for project in projects:
        project.close()


async def test_each_event_has_its_effect_exactly_once_although_workers_are_killed(
    project_with: Callable[[str], Project], postgresql_url: str
) -> None:
    project = project_with(postgresql_url)
    (project.folder / "counting.py").write_text(COUNTING)
    processes = [project.start("worker", "counting.py") for _ in range(PROCESSES)]
    project.start("ingress")
    sent = asyncio.create_task(
        asyncio.to_thread(project.call, "send", "krtc-main", "103", "--count", str(CALLBACKS), "--json")
    )
    for number, share in enumerate((4, 2)):
        await eventually(lambda share=share: len(counted(postgresql_url)) > CALLBACKS // share)  # type: ignore[misc]
        processes.pop(number).kill()
        processes.append(await asyncio.to_thread(project.start, "worker", "counting.py"))
    assert (await sent).returncode == 0
    await eventually(lambda: len(set(counted(postgresql_url))) == CALLBACKS)
    assert [process.stop() for process in processes] == [0] * PROCESSES
    assert len(counted(postgresql_url)) == CALLBACKS


def counted(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM counted").fetchall()]


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
async def test_workers_and_the_room_view_share_a_store_on_a_server(
    project_with: Callable[[str], Project], pytestconfig: pytest.Config, kind: str
) -> None:
    own_database = redis.own_database if kind == "redis" else postgresql.own_database
    with own_database(pytestconfig) as url:
        project = project_with(url)
        workers = [project.start("worker", "rooms", "counter.py") for _ in range(2)]
        project.start("ingress")
        for _ in range(2):
            assert project.call("send", "meetings", "--duplicate").returncode == 0
        await eventually(lambda: len(project.handled()) >= 12)
        assert [worker.stop() for worker in workers] == [0, 0]
        assert len({room["room_id"] for room in project.rooms()}) >= 2
        assert len(project.handled()) == len(set(project.handled()))


def test_a_transactional_worker_on_redis_stops_the_start(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    project = Project(tmp_path, store_url=redis.server_url(pytestconfig))
    (project.folder / "counting.py").write_text(COUNTING)
    ended = project.call("worker", "counting.py")
    assert ended.returncode == 2
    assert "store.url: the worker counting is transactional" in ended.stderr
    assert redis.PASSWORD not in ended.stderr
