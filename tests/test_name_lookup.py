"""Hosts are looked up so that a name server that does not answer holds up neither the event loop nor a stop."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest

from hookline.aio.name_lookup import LooksUpInThreads, is_address

T = TypeVar("T")

HANGS_S = 300
"""Longer than the test waits for the process."""
WITHIN_S = 120
PATIENCE_S = 6.0
"""Long enough for each library to ask, on a busy machine."""
PROGRAM = f"""
import asyncio, logging, os, socket, sys, time
from hookline.broker.rabbitmq.broker import RabbitMQBroker, RabbitMQSettings
from hookline.runtime import event_loop
from hookline.schemas.errors import Unreachable
from hookline.workers.stores.postgresql.store import PostgresqlStore
from hookline.workers.stores.redis.store import RedisStore

if sys.argv[1] == "asyncio":
    sys.modules["uvloop"] = None
logging.disable()

def say(line):
    os.write(1, f"{{line}}\\n".encode())  # whole, from any thread

def hang(*asked):
    say(f"looks up {{asked[0]}}")
    time.sleep({HANGS_S})

socket.getaddrinfo = hang
OPENINGS = (
    RabbitMQBroker.open(RabbitMQSettings("amqp://a.example", connect_timeout_s={PATIENCE_S})),
    RedisStore.open("redis://b.example/0", 60.0, {PATIENCE_S}),
    RedisStore.open("rediss://c.example/0", 60.0, {PATIENCE_S}),
    PostgresqlStore.open("postgresql://u:p@d.example/d", 60.0, {PATIENCE_S}, 4),
)

async def given_up(opening):
    try:
        await opening
    except Unreachable:
        say("gave up")

event_loop.run_to_end(asyncio.wait(map(asyncio.ensure_future, map(given_up, OPENINGS))))
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_process_goes_on_and_ends_while_look_ups_hang(loop: str) -> None:
    done = subprocess.run(  # noqa: S603  our own program
        [sys.executable, "-c", PROGRAM, loop], capture_output=True, text=True, timeout=WITHIN_S, check=True
    )
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert sorted(set(said)) == ["gave up", *(f"looks up {name}.example" for name in "abcd")]
    assert said.count("gave up") == 4


def loops() -> list[type[asyncio.AbstractEventLoop]]:
    uvloop = pytest.importorskip("uvloop")
    return [asyncio.SelectorEventLoop, uvloop.Loop]


def run(kind: type[asyncio.AbstractEventLoop], main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=type("EventLoop", (LooksUpInThreads, kind), {})) as runner:
        return runner.run(main)


@pytest.mark.parametrize("kind", loops())
def test_each_address_of_a_name_is_tried(
    kind: type[asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def looked_up(host: str, *asked: Any) -> list[Any]:
        return [info for address in ("127.0.0.2", "127.0.0.1") for info in real(address, *asked)]

    async def connects(port: int) -> str:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "server.example", port)
        transport.close()
        return str(transport.get_extra_info("peername")[0])

    with socket.create_server(("127.0.0.1", 0)) as server:  # it listens on the second one only
        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        assert run(kind, connects(server.getsockname()[1])) == "127.0.0.1"


@pytest.mark.parametrize("kind", loops())
@pytest.mark.parametrize(
    ("host", "error"), [("rabbit.invalid", socket.gaierror), (f"{'x' * 64}.example", UnicodeError)]
)
def test_a_name_that_cannot_be_resolved_raises(
    host: str, error: type[Exception], kind: type[asyncio.AbstractEventLoop]
) -> None:
    async def connect() -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, 1)

    with pytest.raises(error):
        run(kind, connect())


@pytest.mark.parametrize("kind", loops())
def test_those_who_ask_the_same_at_a_time_share_a_thread(
    kind: type[asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many retries give up meanwhile. Later ones ask anew, since the answer may change."""
    answers, asked = threading.Event(), list[str]()

    def look_up(host: str, *_: object) -> list[str]:
        asked.append(host)
        assert answers.wait(WITHIN_S)
        return [f"answer {len(asked)}"]

    async def ask_often() -> list[Any]:
        ask = partial(asyncio.get_running_loop().getaddrinfo, "server.example", 1)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(), 0.01)
        waits = asyncio.gather(ask(), ask())
        await asyncio.sleep(0)
        answers.set()
        return [*await waits, await ask()]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert run(kind, ask_often()) == [["answer 1"], ["answer 1"], ["answer 2"]]


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("198.51.100.7", True), ("localhost", False)]
)
def test_an_address_is_told_from_a_name(host: str, *, expected: bool) -> None:
    assert is_address(host) is expected
