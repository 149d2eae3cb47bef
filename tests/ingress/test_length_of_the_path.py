"""How many functions and files a reader meets who follows one request, from its bytes to the provider's reply."""

import itertools
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.ingress.receive import Receiver
from hookline.ingress.server import Ingress
from tests.ingress.callbacks import GOOD
from tests.ingress.http_client import Client, connected
from tests.ingress.running_ingress import SETTINGS
from tests.ingress.sources import KRTC, NOW_S
from tests.services.rabbitmq import server_url

ROOT = Path(__file__).parents[2]
ROOMS = ("ingress", "schemas", "broker", "hookline")
REQUESTS = 20  # the shortest of them counts: a heartbeat or a new second adds a call
MAX_CALLS, MAX_FILES, MAX_CHANGES_OF_FILE = 64, 19, 49


@asynccontextmanager
async def client_of_ingress_on_rabbitmq(url: str) -> AsyncIterator[Client]:
    broker = await RabbitMQBroker.open(RabbitMQSettings(url))
    ingress = Ingress(Receiver({KRTC.name: KRTC}, broker.publisher, SETTINGS, clock=lambda: NOW_S), SETTINGS)
    port = await ingress.start()
    try:
        async with connected(port) as client:
            yield client
    finally:
        await ingress.stop()
        await broker.close()


@contextmanager
def recorded_files() -> Iterator[list[str]]:
    """The file of each of our functions that is called, from the moment that the ingress receives bytes."""
    files: list[str] = []

    def record(frame: FrameType, event: str, _: Any) -> None:
        file = os.path.relpath(os.path.realpath(frame.f_code.co_filename), ROOT)
        is_start = frame.f_code.co_qualname == "IngressConnection.data_received"
        if event == "call" and file.startswith(tuple(f"{room}{os.sep}" for room in ROOMS)) and (files or is_start):
            files.append(file)

    before = sys.getprofile()
    sys.setprofile(record)
    try:
        yield files
    finally:
        sys.setprofile(before)


async def test_one_request_takes_few_calls_in_few_files(request: pytest.FixtureRequest) -> None:
    paths: list[list[str]] = []
    async with client_of_ingress_on_rabbitmq(server_url(request.config)) as client:
        for _ in range(REQUESTS):
            with recorded_files() as files:
                await client.send(GOOD)
                answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
            paths.append(files)
    path = min(paths, key=len)
    assert len(path) <= MAX_CALLS
    assert len(set(path)) <= MAX_FILES
    assert sum(one != other for one, other in itertools.pairwise(path)) <= MAX_CHANGES_OF_FILE
    assert {"ingress/receive.py", "schemas/providers/krtc.py", "broker/rabbitmq/publisher.py"} <= set(path)
