"""An ingress that was stopped for seconds answers what waited meanwhile: its own pause is nobody's silence."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from hookline.schemas.provider import AnySource
from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.processes import Process, Project
from tests.ingress.callbacks import post
from tests.ingress.http_client import Client, connected

PAUSE_S = 5.5  # longer than any time-out of a publish
CLIENTS = 300
MAX_IN_FLIGHT = 40
ANSWERED_S = 60.0


@pytest.fixture(params=["embedded", "rabbitmq", "spool"])
async def project(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Project]:
    """A project that takes few events at a time, on each way to keep an event."""
    if request.param == "embedded":
        made = Project(tmp_path)
    else:
        made = Project(tmp_path, (await fresh_rabbitmq(request.config)).address)
    text = made.config.read_text().replace("[broker]\n", f"[broker]\nmax_in_flight = {MAX_IN_FLIGHT}\n", 1)
    if request.param == "rabbitmq":
        text = text.replace("[store]\n", '[spool]\npath = ""\n\n[store]\n', 1)
    made.config.write_text(text)
    yield made
    made.close()


@pytest.mark.parametrize("lane", ["true", "false"], ids=["fast lane", "usual way"])
async def test_a_crowd_that_waited_for_a_stopped_process_is_accepted(project: Project, lane: str) -> None:
    text = project.config.read_text()
    project.config.write_text(text.replace("[ingress]\n", f"[ingress]\nfast_lane = {lane}\n", 1))
    process = await asyncio.to_thread(project.start, "ingress")
    (source,) = (each for each in project.settings.sources.values() if each.provider.name == "netease")
    async with AsyncExitStack() as open_:
        port = project.settings.ingress.port
        clients = [await open_.enter_async_context(connected(port)) for _ in range(CLIENTS)]
        first = await sent_all(clients, source, 0)
        await pause(process, clients, source)
        answers = await asyncio.wait_for(asyncio.gather(*map(status, clients)), ANSWERED_S)
    assert first == {200: CLIENTS}
    assert Counter(answers) == {200: CLIENTS}
    assert not process.count("in time")  # neither the broker nor the disk is blamed


async def sent_all(clients: list[Client], source: AnySource, first: int) -> Counter[int]:
    """The answers to a callback of each client, one after the other in groups."""
    found: Counter[int] = Counter()
    for start in range(0, len(clients), MAX_IN_FLIGHT // 2):
        group = clients[start : start + MAX_IN_FLIGHT // 2]
        for number, client in enumerate(group, first + start):
            await client.send(callback(source, number))
        found.update([await status(client) for client in group])
    return found


async def status(client: Client) -> int:
    """The status of the next answer; 0 if the connection is closed without one."""
    answer = await client.answer()
    return 0 if answer is None else answer.status


async def pause(process: Process, clients: list[Client], source: AnySource) -> None:
    """Stop the process while events are being published, and let it go on when every client has sent one."""
    half = CLIENTS // 20
    for number, client in enumerate(clients[:half], CLIENTS):
        await client.send(callback(source, number))
    process.popen.send_signal(signal.SIGSTOP)
    try:
        for number, client in enumerate(clients[half:], CLIENTS + half):
            await client.send(callback(source, number))
        await asyncio.sleep(PAUSE_S)
    finally:
        process.popen.send_signal(signal.SIGCONT)


def callback(source: AnySource, number: int) -> bytes:
    body = {
        "eventType": 21,
        "fromAccount": "teacher",
        "fromDeviceId": "device",
        "channelName": f"room-{number}",
        "timestamp": str(int(time.time() * 1000)),
    }
    return post(source, source.provider.sign(msgspec.json.encode(body), source, time.time()))
