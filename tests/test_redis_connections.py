"""Connections to Redis that end at any moment, on the event loop that processes run on."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from hookline.schemas.errors import SettingsError, Unreachable
from hookline.workers.stores.redis.client import Client
from tests.services.certificates import CertificateAuthority, encrypt_key

uvloop = pytest.importorskip("uvloop")

ASKING_AT_ONCE = 8
TIMES = 500
"""About one connection in fifty is reset between its opening and the first command."""


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that accepts each connection and resets it."""
    ending = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=_reset_all, args=(server, ending))
        accepting.start()
        yield int(server.getsockname()[1])
        ending.set()
        socket.create_connection(server.getsockname()).close()  # wakes up what accepts
        accepting.join()


def _reset_all(server: socket.socket, ending: threading.Event) -> None:
    while not ending.is_set():
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def test_a_connection_that_is_reset_at_any_moment_is_unreachable(port: int) -> None:
    async def ask() -> int:
        client = Client(f"redis://127.0.0.1:{port}", timeout_s=10)
        times = 0

        async def ask_often() -> None:
            nonlocal times
            for _ in range(TIMES):
                with pytest.raises(Unreachable):
                    await client.script("return 1", [], [])
                times += 1

        await asyncio.gather(*(ask_often() for _ in range(ASKING_AT_ONCE)))
        await client.close()
        return times

    assert uvloop.run(ask()) == ASKING_AT_ONCE * TIMES


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "ssl_ca_certs={}/nowhere.pem", "ssl_ca_certs .*nowhere.pem cannot be used: No such file", id="no CA"
        ),
        pytest.param(
            "ssl_certfile={0}/client.pem&ssl_keyfile={0}/locked.key",
            "ssl_certfile .*client.pem cannot be used with its key: the key is encrypted",
            id="an encrypted key, whose password OpenSSL would ask for at the terminal",
        ),
        pytest.param("zebra=1", "redis-py has no option 'zebra'", id="an unknown option"),
    ],
)
def test_an_option_of_no_use_is_named_before_connecting(query: str, expected: str, tmp_path: Path) -> None:
    client = CertificateAuthority(tmp_path, "ca").issue("client")
    encrypt_key(client.key, tmp_path / "locked.key", "hunter3")
    with pytest.raises(SettingsError, match=f"^store.url: {expected}") as caught:
        Client(f"rediss://:hunter2@127.0.0.1:1/0?{query.format(tmp_path)}", timeout_s=10)
    assert "hunter" not in str(caught.value)


async def test_a_connection_that_does_not_close_in_time_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that blocks the event loop lets the time of the other connections end while they are closed."""

    async def times_out(*_: object, **__: object) -> None:
        raise redis.TimeoutError("Timed out closing connection after 5")

    async def fails(_: redis.asyncio.Redis) -> None:
        raise redis.ConnectionError("the server is away")

    client = Client("redis://127.0.0.1:1/0", timeout_s=10)
    monkeypatch.setattr(redis.asyncio.BlockingConnectionPool, "disconnect", times_out)
    with pytest.raises(Unreachable, match="the server is away"):
        await client.run(fails)
