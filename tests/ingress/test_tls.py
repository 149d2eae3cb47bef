"""TLS at the ingress itself, with certificates of a private authority."""

import asyncio
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hookline.ingress import tls_handshake
from hookline.ingress.connection import IngressConnection
from hookline.ingress.listening import server_context
from hookline.schemas.errors import SettingsError
from tests.ingress.callbacks import GOOD
from tests.ingress.freeing import freed_without_the_garbage_collector
from tests.ingress.http_client import PATIENCE_S, connected, let_ingress_run
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings
from tests.services.certificates import AS_AUTHORITY, AS_ISSUED, encrypt_key

NAME = "ingress.example"
LOST = GOOD.replace(b"/hooks/", b"/nowhere/")

on_each_loop = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


class Authority:
    """A private certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self._openssl("req", "-x509", *curve, "-days", "2", *AS_AUTHORITY)

    def _openssl(self, *words: str) -> None:
        ends = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Private CA")
        self.run(*words, *ends)

    def run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)  # noqa: S603, S607

    def issue(self, serial: int) -> tuple[str, str]:
        """Write `server.pem` and `server.key`, and return their paths."""
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self.run("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={NAME}")
        (self.folder / "names").write_text("\n".join([*AS_ISSUED, f"subjectAltName=DNS:{NAME}", ""]))
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", str(serial), "-days", "2", "-extfile", "names")
        self.run("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
        return str(self.folder / "server.pem"), str(self.folder / "server.key")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@asynccontextmanager
async def with_tls(authority: Authority, serial: int = 1, **settings: Any) -> AsyncIterator[RunningIngress]:
    certificate, key = authority.issue(serial)
    async with running_ingress(settings=with_settings(tls_certificate=certificate, tls_key=key, **settings)) as ingress:
        yield ingress


async def ask(ingress: RunningIngress, context: ssl.SSLContext) -> tuple[bytes, int]:
    """The first line of the answer to a genuine callback, and the serial number of the certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ingress.port, ssl=context, server_hostname=NAME)
    try:
        writer.write(GOOD)
        line = await reader.readline()
        return line, int(writer.get_extra_info("peercert")["serialNumber"], 16)
    finally:
        writer.close()


async def test_a_callback_over_tls_is_accepted(authority: Authority) -> None:
    async with with_tls(authority) as ingress:
        line, _ = await ask(ingress, ssl.create_default_context(cafile=authority.certificate))
        assert line == b"HTTP/1.1 200 OK\r\n"
        assert len(ingress.publisher.envelopes) == 1


async def answers_to(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], *requests: bytes) -> int:
    """How many callbacks are accepted that are sent in one piece."""
    reader, writer = stream
    writer.write(b"".join(requests))
    received = b""
    async with asyncio.timeout(PATIENCE_S):
        while received.count(b"HTTP/1.1 ") < len(requests) and (data := await reader.read(2**16)):
            received += data
    return received.count(b"HTTP/1.1 200 OK")


@on_each_loop
@pytest.mark.parametrize("lane", [True, False], ids=["fast lane", "usual way"])
def test_a_connection_serves_one_callback_after_another(
    *, authority: Authority, lane: bool, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Also those that wait behind another, and after a pause that is longer than a client may take to read."""
    write_timeout_s = 0.3

    async def accepted() -> list[int]:
        context = ssl.create_default_context(cafile=authority.certificate)
        async with with_tls(authority, fast_lane=lane, write_timeout_s=write_timeout_s) as ingress:
            stream = await asyncio.open_connection("127.0.0.1", ingress.port, ssl=context, server_hostname=NAME)
            found = [await answers_to(stream, GOOD), await answers_to(stream, GOOD, GOOD, GOOD)]
            await asyncio.sleep(2 * write_timeout_s)
            found.append(await answers_to(stream, GOOD))
            stream[1].close()
            return found

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(accepted()) == [1, 3, 1]


FIRST_BYTES = {
    "nothing": b"",
    "no TLS": GOOD,
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "a part of a greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@on_each_loop
@pytest.mark.parametrize("first", FIRST_BYTES.values(), ids=FIRST_BYTES)
def test_a_client_that_leaves_before_its_handshake_leaves_nothing(
    authority: Authority,
    first: bytes,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether it closes or resets the connection, at once or some turns later."""

    async def leave() -> None:
        async with with_tls(authority) as ingress, freed_without_the_garbage_collector():
            before = len(asyncio.all_tasks())
            for turns in range(12):
                async with ingress.connect() as client:
                    await client.send(first)
                    if turns % 2:
                        client.reset_when_closed()
                    for _ in range(turns):
                        await asyncio.sleep(0)
            async with asyncio.timeout(PATIENCE_S):
                while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  the end of a task of another gives no signal
                    await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(leave())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


@on_each_loop
@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("first", FIRST_BYTES.values(), ids=FIRST_BYTES)
def test_a_handshake_that_fails_is_freed_without_the_garbage_collector(
    *, authority: Authority, first: bytes, is_reset: bool, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Until the collector runs, a flood of them would fill the memory: each holds what TLS needs for a connection."""

    async def fail() -> None:
        async with (
            with_tls(authority) as ingress,
            freed_without_the_garbage_collector(),
            ingress.connect() as client,
        ):
            await client.send(first)
            await let_ingress_run()
            if is_reset:
                client.reset_when_closed()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(fail())


@on_each_loop
@pytest.mark.parametrize("next_", [LOST, b"zebra" + LOST], ids=["a refused request", "no request"])
def test_a_client_that_leaves_while_requests_wait_behind_another_leaves_nothing(
    authority: Authority, next_: bytes, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Nothing more is read meanwhile, and asyncio's TLS then closes nothing."""

    async def leave() -> None:
        async with with_tls(authority) as ingress:
            ingress.publisher.hold()
            with closing(Greeting(authority, ingress.port)) as client:
                async with asyncio.timeout(PATIENCE_S):
                    await client.shake_hands()
                    client.write(GOOD + next_ + next_)
                    await ingress.publisher.called.wait()
                await let_ingress_run()
                client.end()
                await let_ingress_run()
                ingress.publisher.release()
                async with asyncio.timeout(PATIENCE_S):
                    while ingress.server.connections:  # noqa: ASYNC110  the end of a connection gives no signal
                        await asyncio.sleep(0.01)
            assert ingress.receiver._in_flight == 0  # noqa: SLF001

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(leave())


@on_each_loop
def test_a_forged_record_within_a_body_is_no_error_of_the_ingress(
    authority: Authority, new_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    async def forge() -> None:
        async with with_tls(authority) as ingress:
            with closing(Greeting(authority, ingress.port)) as client:
                async with asyncio.timeout(PATIENCE_S):
                    await client.shake_hands()
                    client.write(GOOD[:-1])
                    while not ingress.receiver._in_flight:  # noqa: ASYNC110, SLF001  its beginning gives no signal
                        await asyncio.sleep(0.01)
                    client.forge(b"\x17\x03\x03\x00\x10" + b"z" * 16)
                    while ingress.server.connections:  # noqa: ASYNC110  the end of a connection gives no signal
                        await asyncio.sleep(0.01)
            await let_ingress_run()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(forge())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert "malformed_request (the body is incomplete)" in caplog.text


async def test_every_unread_byte_is_timed_with_tls(authority: Authority) -> None:
    """A transport of TLS pauses the writing once so many bytes wait, and goes on when none does."""
    context = ssl.create_default_context(cafile=authority.certificate)
    async with with_tls(authority) as ingress:
        stream = await asyncio.open_connection("127.0.0.1", ingress.port, ssl=context, server_hostname=NAME)
        assert await answers_to(stream, GOOD) == 1
        (connection,) = ingress.server.connections
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_limits() == (0, 1)
        stream[1].close()


async def test_a_client_that_does_not_know_the_authority_sends_nothing(authority: Authority) -> None:
    async with with_tls(authority) as ingress:
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(ingress, ssl.create_default_context())
        assert ingress.publisher.envelopes == []


async def test_tls_older_than_1_2_is_refused(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.certificate)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with with_tls(authority) as ingress:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(ingress, context)


async def test_plain_http_gets_no_answer(authority: Authority) -> None:
    async with with_tls(authority) as ingress, ingress.connect() as client:
        await client.send(GOOD)
        assert await client.answer() is None
        assert ingress.publisher.envelopes == []


async def test_a_renewed_certificate_is_used_once_it_is_read(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.certificate)
    async with with_tls(authority, 7) as ingress:
        assert await ask(ingress, context) == (b"HTTP/1.1 200 OK\r\n", 7)
        authority.issue(8)
        ingress.server.reload_certificate()
        assert await ask(ingress, context) == (b"HTTP/1.1 200 OK\r\n", 8)


async def test_a_broken_certificate_is_refused_and_the_old_one_serves_on(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.certificate)
    async with with_tls(authority, 9) as ingress:
        (authority.folder / "server.pem").write_text("zebra")
        with pytest.raises(SettingsError, match=r"ingress\.tls_certificate: .*server\.pem cannot be used with its key"):
            ingress.server.reload_certificate()
        assert await ask(ingress, context) == (b"HTTP/1.1 200 OK\r\n", 9)


async def test_an_encrypted_key_is_refused_without_asking_for_a_password(authority: Authority) -> None:
    certificate, key = authority.issue(10)
    locked = authority.folder / "locked.key"
    encrypt_key(authority.folder / key, locked, "zebra")
    settings = with_settings(tls_certificate=certificate, tls_key=str(locked))
    with pytest.raises(SettingsError, match="the key is encrypted"):
        async with running_ingress(settings=settings):
            pass


async def test_a_missing_certificate_is_named() -> None:
    with pytest.raises(SettingsError, match=r"ingress\.tls_certificate: /nowhere\.pem is not a file"):
        async with running_ingress(settings=with_settings(tls_certificate="/nowhere.pem")):
            pass


async def test_clients_that_begin_no_handshake_make_way(authority: Authority) -> None:
    """They count as connections that have sent nothing, and one address has a limit of its own."""
    certificate, key = authority.issue(9)
    settings = with_settings(tls_certificate=certificate, tls_key=key, max_connections=8, max_connections_per_address=4)
    async with running_ingress(settings=settings) as ingress, AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(ingress.port, host="127.0.0.2")) for _ in range(6)]
        assert await idle[0].is_closed()
        assert await idle[1].is_closed()
        assert not await idle[-1].closed_within(0.1)
        line, _ = await ask(ingress, ssl.create_default_context(cafile=authority.certificate))
        assert line == b"HTTP/1.1 200 OK\r\n"


@on_each_loop
def test_a_client_that_makes_way_before_its_turn_is_freed_without_the_garbage_collector(
    authority: Authority, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def crowd() -> None:
        async with (
            with_tls(authority, max_connections=2) as ingress,
            freed_without_the_garbage_collector(),
            AsyncExitStack() as stack,
        ):
            clients = await asyncio.gather(*(stack.enter_async_context(connected(ingress.port)) for _ in range(40)))
            await asyncio.gather(*(client.send(FIRST_BYTES["a part of a greeting"]) for client in clients[-10:]))
            await let_ingress_run()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(crowd())


def test_a_client_cannot_ask_for_a_second_handshake(authority: Authority) -> None:
    """OpenSSL 3 refuses it by itself, and 1.1 by this option only."""
    assert server_context(*authority.issue(11)).options & ssl.OP_NO_RENEGOTIATION


async def test_a_handshake_that_does_not_end_is_cut_off(authority: Authority) -> None:
    certificate, key = authority.issue(10)
    settings = with_settings(tls_certificate=certificate, tls_key=key, head_timeout_s=0.3)
    async with running_ingress(settings=settings) as ingress, connected(ingress.port) as client:
        assert await client.is_closed()


class Greeting:
    """A client's side of a handshake, which sends and receives only when it is told to."""

    def __init__(self, authority: Authority, port: int) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=authority.certificate)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=NAME)
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setblocking(False)  # noqa: FBT003  the library's name for it

    def send(self) -> bool:
        """Go on as far as what has arrived allows; whether the handshake has ended for this side."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            has_ended = False
        else:
            has_ended = True
        self._socket.sendall(self._outgoing.read())
        return has_ended

    async def receive(self) -> None:
        self._incoming.write(await asyncio.get_running_loop().sock_recv(self._socket, 2**16))

    async def shake_hands(self) -> None:
        while not self.send():
            await self.receive()

    def write(self, *parts: bytes) -> None:
        """Send them at once, with a record for each."""
        for part in parts:
            self._tls.write(part)
        self._socket.sendall(self._outgoing.read())

    def forge(self, record: bytes) -> None:
        """Send bytes that TLS has not made."""
        self._socket.sendall(record)

    def end(self) -> None:
        """End the TCP connection on this side, without a word of TLS."""
        self._socket.shutdown(socket.SHUT_WR)

    async def ask(self, request: bytes = GOOD) -> bytes:
        """The answer, or at least its beginning."""
        self.write(request)
        while True:
            await self.receive()
            try:
                return self._tls.read(2**16)
            except ssl.SSLWantReadError:
                continue

    def close(self) -> None:
        self._socket.close()


async def test_a_pause_of_the_process_does_not_cut_off_a_handshake(authority: Authority) -> None:
    async with with_tls(authority, head_timeout_s=1.0) as ingress:
        with closing(Greeting(authority, ingress.port)) as client:
            assert not client.send()
            await client.receive()
            time.sleep(3)  # noqa: ASYNC251  the whole event loop stands still
            await let_ingress_run()
            assert client.send()
            async with asyncio.timeout(PATIENCE_S):
                assert (await client.ask()).startswith(b"HTTP/1.1 200 OK")


async def test_a_crowd_of_greetings_is_answered_in_several_turns(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []
    turns = [0]
    feed = tls_handshake._feed  # noqa: SLF001

    def noted(transport: asyncio.Transport, data: bytes) -> None:
        began.append(turns[0])
        feed(transport, data)

    async def count_turns() -> None:
        while True:
            await asyncio.sleep(0)
            turns[0] += 1

    monkeypatch.setattr(tls_handshake, "_feed", noted)
    async with with_tls(authority) as ingress, AsyncExitStack() as stack, asyncio.timeout(4 * PATIENCE_S):
        counting = asyncio.create_task(count_turns())
        clients = [stack.enter_context(closing(Greeting(authority, ingress.port))) for _ in range(64)]
        for _ in range(2 * len(clients)):  # all are accepted
            await asyncio.sleep(0)
        for client in clients:
            client.send()
        for client in clients:
            await client.receive()
            assert client.send()
            assert (await client.ask()).startswith(b"HTTP/1.1 200 OK")
        counting.cancel()
    assert len(began) == len(clients)
    assert max(Counter(began).values()) <= 32


async def test_a_client_that_does_not_answer_the_end_of_tls_makes_way(authority: Authority) -> None:
    """The end of TLS waits half a minute for it."""
    refused = GOOD.replace(b"/hooks/", b"/nowhere/")
    async with with_tls(authority, max_connections=2) as ingress, AsyncExitStack() as stack:
        for request in (refused, refused, GOOD):
            client = stack.enter_context(closing(Greeting(authority, ingress.port)))
            async with asyncio.timeout(PATIENCE_S):
                await client.shake_hands()
                answer = await client.ask(request)
            assert answer.startswith(b"HTTP/1.1 200 OK" if request == GOOD else b"HTTP/1.1 404")


@on_each_loop
@pytest.mark.parametrize("lane", [True, False], ids=["fast lane", "usual way"])
def test_tiny_records_are_accepted_a_few_at_a_time(
    *,
    authority: Authority,
    lane: bool,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    padded = GOOD.replace(b"\r\n", b"\r\nX-Padding: " + b"x" * 7000 + b"\r\n", 1)
    sizes: list[int] = []
    receive = IngressConnection.data_received

    def noted(self: IngressConnection, data: bytes) -> None:
        sizes.append(len(data))
        receive(self, data)

    monkeypatch.setattr(IngressConnection, "data_received", noted)

    async def accepted() -> None:
        async with with_tls(authority, fast_lane=lane) as ingress:
            with closing(Greeting(authority, ingress.port)) as client:
                async with asyncio.timeout(PATIENCE_S):
                    await client.shake_hands()
                    client.write(*(bytes([byte]) for byte in padded))
                    await ingress.publisher.kept.wait()
                    assert (await client.ask(GOOD)).startswith(b"HTTP/1.1 200 OK")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(accepted())
    assert sum(sizes) == len(padded) + len(GOOD)
    assert max(sizes) < len(padded) / 2


@on_each_loop
def test_one_that_makes_way_while_its_end_of_tls_is_awaited_is_closed_at_once(
    authority: Authority, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    last = GOOD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)

    async def make_way() -> None:
        async with with_tls(authority, fast_lane=False) as ingress:
            with closing(Greeting(authority, ingress.port)) as client:
                async with asyncio.timeout(PATIENCE_S):
                    await client.shake_hands()
                    assert (await client.ask(last)).startswith(b"HTTP/1.1 200 OK")
                    await let_ingress_run()
                    (connection,) = ingress.server.connections
                    assert isinstance(connection, IngressConnection)
                    assert connection.idle_since_s == 0
                    connection.give_way()
                    while ingress.server.connections:  # noqa: ASYNC110  the end of a connection gives no signal
                        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(make_way())
