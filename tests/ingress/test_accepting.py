"""A crowd that connects at once is accepted in few turns of the event loop."""

import asyncio
import socket
from contextlib import ExitStack

import pytest
from msgspec.structs import replace

from hookline.ingress import accepting
from tests.ingress.callbacks import GOOD
from tests.ingress.running_ingress import SETTINGS, running_ingress

CROWD = 300
TURNS = CROWD // 4


def open_crowd(stack: ExitStack, port: int) -> list[socket.socket]:
    return [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CROWD)]


async def test_a_crowd_that_waits_in_the_kernel_is_accepted_in_few_turns() -> None:
    """libuv by itself accepts one connection in each turn."""
    async with running_ingress() as ingress:
        with ExitStack() as stack:
            open_crowd(stack, ingress.port)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert len(ingress.server.connections) == CROWD


async def test_each_client_of_a_crowd_gets_its_answer() -> None:
    async with running_ingress() as ingress:
        with ExitStack() as stack:
            clients = open_crowd(stack, ingress.port)
            for client in clients:
                client.sendall(GOOD)
                client.setblocking(False)  # noqa: FBT003  the library's name for it
            loop = asyncio.get_running_loop()
            for client in clients:
                assert (await loop.sock_recv(client, 15)).startswith(b"HTTP/1.1 200")


async def test_copies_listen_only_while_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [0]
    monkeypatch.setattr(accepting, "_waiting", lambda _: waiting[0])
    monkeypatch.setattr(accepting, "_LOOKS_EVERY_S", 0.0)
    monkeypatch.setattr(accepting, "_KEPT_S", 0.0)
    async with running_ingress() as ingress:
        [acceptor] = ingress.server._acceptors  # noqa: SLF001
        for waiting[0], expected in ((0, 1), (1000, 32), (1000, 32), (0, 1), (0, 1)):
            answer, _ = await ingress.ask(GOOD)
            assert answer is not None
            assert answer.status == 200
            async with asyncio.timeout(10):
                while acceptor.listeners != expected:  # noqa: ASYNC110  a listener gives no signal
                    await asyncio.sleep(0)


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_near_a_limit_few_connections_are_accepted_in_a_turn(limit: str) -> None:
    """A client that has just connected gets time to send something before others take its place."""
    async with running_ingress(settings=replace(SETTINGS, **{limit: CROWD})) as ingress:
        [acceptor] = ingress.server._acceptors  # noqa: SLF001
        with ExitStack() as stack:
            open_crowd(stack, ingress.port)
            async with asyncio.timeout(10):
                while len(ingress.server.connections) < CROWD:
                    if len(ingress.server.connections) >= CROWD - 16:
                        assert acceptor.listeners <= 4
                    await asyncio.sleep(0)
