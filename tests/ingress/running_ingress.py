"""A real ingress on a free port, with a publisher that records the envelopes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from hookline.aio.completion import Completion, completion_of
from hookline.ingress.audit import RefusalAudit
from hookline.ingress.client_address import Network
from hookline.ingress.receive import Receiver
from hookline.ingress.server import Ingress
from hookline.ingress.settings import IngressSettings
from hookline.schemas.envelope import Envelope
from hookline.schemas.provider import AnySource
from tests.ingress.http_client import Answer, Client, connected
from tests.ingress.sources import NOW_S, SOURCES

SETTINGS = IngressSettings(host="127.0.0.1", port=0, head_timeout_s=30, body_timeout_s=30, keepalive_timeout_s=30)
IMPATIENT = msgspec.structs.replace(SETTINGS, head_timeout_s=0.4, body_timeout_s=0.3)
"""For requests that are never complete: the ingress soon gives up on them."""


class RecordingPublisher:
    """A publisher that records envelopes, and that a test can make fail or wait.

    `publish` raises `fault` if it is set, and waits between `hold()` and `release()`. `called` is set when the first
    envelope arrives, `kept` when it is recorded.
    """

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.fault: BaseException | None = None
        self.reason = ""
        self.called = asyncio.Event()
        self.kept = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def ready(self) -> bool:
        return not self.reason

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def begin(self, envelope: Envelope) -> Completion:
        return completion_of(self.publish(envelope))

    async def publish(self, envelope: Envelope) -> None:
        self.called.set()
        if self.fault is not None:
            raise self.fault
        await self._free.wait()
        self.envelopes.append(envelope)
        self.kept.set()


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class RunningIngress:
    port: int
    publisher: RecordingPublisher
    server: Ingress
    clock: ManualClock
    receiver: Receiver

    def connect(self) -> AbstractAsyncContextManager[Client]:
        return connected(self.port)

    async def ask(self, *parts: bytes) -> tuple[Answer | None, bool]:
        """Send the parts on a new connection. The first answer, and whether the ingress then closed the connection."""
        async with self.connect() as client:
            answer = await client.send_until_answered(parts)
            closes = answer is None or answer.closes
            return answer, closes and await client.is_closed()


@asynccontextmanager
async def running_ingress(
    sources: Mapping[str, AnySource] = SOURCES,
    settings: IngressSettings = SETTINGS,
    trusted_proxies: Sequence[Network] = (),
    audit: RefusalAudit | None = None,
    max_file: int | None = None,
) -> AsyncIterator[RunningIngress]:
    publisher, clock = RecordingPublisher(), ManualClock()
    receiver = Receiver(sources, publisher, settings, trusted_proxies, clock, audit)
    server = Ingress(receiver, settings, max_file)
    port = await server.start()
    try:
        yield RunningIngress(port, publisher, server, clock, receiver)
    finally:
        publisher.release()
        await server.stop()


def with_settings(**changed: Any) -> IngressSettings:
    return msgspec.structs.replace(SETTINGS, **changed)
