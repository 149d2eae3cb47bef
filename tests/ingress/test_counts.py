"""What the ingress counts is zero again after any requests, whichever way they took and however they ended."""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
import uvloop

from hookline.aio.completion import Completion
from hookline.ingress.connection import IngressConnection
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable
from tests.ingress.callbacks import GOOD, get, post
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings
from tests.ingress.signature_cases import FORGED
from tests.ingress.sources import MEETINGS, VOICE

REQUESTS = [
    *(GOOD, GOOD, GOOD, post(VOICE), post(MEETINGS), FORGED[0].request, get("/healthz"), b"zebra\r\n\r\n"),
    GOOD.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 4000 + b"\r\n\r\n"),
    b"POST http://xn--a/ HTTP/1.1\r\nHost: x\r\n\r\n",
]
RESETS = struct.pack("ii", 1, 0)
IMPATIENT = {"head_timeout_s": 0.2, "body_timeout_s": 0.2, "shutdown_s": 0.2, "max_bytes_in_flight": 2**20}


class Capricious:
    """Ends publishes late, or with any fault."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def begin(self, _: Envelope) -> Completion:
        fault = self._chance.choice([None] * 8 + [NotDurable("no"), RuntimeError("odd"), asyncio.CancelledError()])
        if isinstance(fault, Exception) and self._chance.random() < 0.5:
            raise fault
        event = Completion()
        asyncio.get_running_loop().call_later(self._chance.choice([0, 0, 0.001, 0.01]), event.end, fault)
        return event


async def visit(ingress: RunningIngress, chance: random.Random) -> None:
    """Send some requests, in parts or not, and leave at any time in any way."""
    loop = asyncio.get_running_loop()
    stream = b"".join(chance.choices(REQUESTS, k=chance.randint(1, 4)))
    stream = stream[: chance.choice([len(stream), len(stream), chance.randint(1, len(stream))])]
    with socket.socket() as ours, suppress(OSError):
        ours.setblocking(False)  # noqa: FBT003  the library's name for it
        await loop.sock_connect(ours, ("127.0.0.1", ingress.port))
        if chance.random() < 0.5:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
        while stream:
            size = chance.choice([len(stream), chance.randint(1, 3000)])
            await loop.sock_sendall(ours, stream[:size])
            stream = stream[size:]
            await asyncio.sleep(chance.choice([0, 0, 0.001]))
        if chance.random() < 0.5:
            await asyncio.wait_for(loop.sock_recv(ours, 2**16), chance.choice([0.001, 0.01, 0.2]))


async def only(ingress: RunningIngress) -> IngressConnection:
    """The connection that is left when all visitors have gone."""
    async with asyncio.timeout(20):
        while len(ingress.server.connections) != 1:  # noqa: ASYNC110  a closed connection gives no signal
            await asyncio.sleep(0.01)
    (left,) = ingress.server.connections
    assert isinstance(left, IngressConnection)
    return left


async def held_after_visits(seed: int, *, lane: bool) -> int:
    """The bytes that count as held after many visitors. The end of the ingress says what counts as in flight."""
    chance = random.Random(seed)  # noqa: S311  one seed, one schedule
    impatient = with_settings(**IMPATIENT, fast_lane=lane)
    async with running_ingress(settings=impatient) as ingress, ingress.connect() as client:
        await client.send(get("/healthz"))
        assert await client.answer() is not None
        ingress.receiver.publisher = Capricious(chance)  # type: ignore[assignment]
        for _ in range(4):
            await asyncio.gather(*(visit(ingress, chance) for _ in range(25)))
        return (await only(ingress)).load.held_bytes


@pytest.mark.parametrize("lane", [True, False], ids=["fast lane", "usual way"])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_nothing_counts_as_held_or_in_flight_when_all_clients_have_gone(
    new_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture, *, lane: bool
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        for seed in range(3):
            assert runner.run(held_after_visits(seed, lane=lane)) == 0
    assert "abandoned" not in caplog.text
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
