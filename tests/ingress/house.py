"""A real ingress on a free port, in front of a publisher that remembers, and the requests that it is sent."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from hookline.ingress.peers import Network
from hookline.ingress.receive import Receiver
from hookline.ingress.server import Ingress
from hookline.ingress.settings import IngressSettings
from hookline.schemas.envelope import Envelope
from hookline.schemas.provider import AnySource, Outgoing
from hookline.schemas.providers import catalogue
from tests.ingress.wire import Answer, Client, connected
from tests.vector_cases import example_source

NOW_S = 1_700_000_000.0
SECRET = "the-secret-of-this-source"
OLD_SECRET = "the-one-before-it"
SETTINGS = IngressSettings(
    host="127.0.0.1", port=0, head_timeout_s=30, body_timeout_s=30, keepalive_timeout_s=30, shutdown_s=5
)
SOURCES: Mapping[str, AnySource] = {
    provider.example.source: example_source(provider, SECRET, OLD_SECRET) for provider in catalogue().values()
}
KRTC, VOICE, CALLS, CLASSROOM, MEETINGS = (
    SOURCES[name] for name in ("krtc-main", "voice", "calls", "classroom", "meetings")
)


class Recorder:
    """A publisher that remembers what it was given, and does what it is told.

    It raises `fault` if there is one; else it waits while `held` is set. `called` and `kept` are set by
    the first envelope that comes, and that is kept.
    """

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.fault: BaseException | None = None
        self.ready = True
        self.called = asyncio.Event()
        self.kept = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    async def publish(self, envelope: Envelope) -> None:
        self.called.set()
        if self.fault is not None:
            raise self.fault
        await self._free.wait()
        self.envelopes.append(envelope)
        self.kept.set()


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class House:
    port: int
    publisher: Recorder
    ingress: Ingress
    clock: Clock

    def connect(self) -> AbstractAsyncContextManager[Client]:
        return connected(self.port)

    async def ask(self, *parts: bytes) -> tuple[Answer | None, bool]:
        """The first answer to these bytes on a connection of their own, and whether the ingress then closed it."""
        async with self.connect() as client:
            answer = await client.send_until_answered(parts)
            closes = answer is None or answer.closes
            return answer, closes and await client.is_closed()


@asynccontextmanager
async def opened(
    sources: Mapping[str, AnySource] = SOURCES,
    settings: IngressSettings = SETTINGS,
    trusted_proxies: Sequence[Network] = (),
) -> AsyncIterator[House]:
    publisher, clock = Recorder(), Clock()
    ingress = Ingress(Receiver(sources, publisher, settings, trusted_proxies, clock), settings)
    port = await ingress.start()
    try:
        yield House(port, publisher, ingress, clock)
    finally:
        publisher.release()
        await ingress.stop()


def with_settings(**changed: Any) -> IngressSettings:
    return msgspec.structs.replace(SETTINGS, **changed)


BODY_LIMITED = with_settings(body_timeout_s=0.3)
"""For requests that never end."""


def sample(source: AnySource, number: int = 0) -> bytes:
    """The body of one of the provider's sample callbacks."""
    return msgspec.json.encode(source.provider.samples[number].body(1, NOW_S))


def signed(source: AnySource, body: bytes | None = None, *, at_s: float = NOW_S) -> Outgoing:
    return source.provider.sign(sample(source) if body is None else body, source, at_s)


def post(
    source: AnySource,
    outgoing: Outgoing | None = None,
    *,
    add: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    **changed: Any,
) -> bytes:
    """A genuine callback but for what is said.

    `add` are further header lines, `leave_out` names headers that go, `changed` are parts of the Outgoing.
    """
    call = replace(signed(source) if outgoing is None else outgoing, **changed)
    target = f"/hooks/{source.name}" + (f"?{call.query}" if call.query else "")
    headers = {
        "Host": "ingress.example",
        "Content-Type": "application/json",
        "Content-Length": str(len(call.body)),
        **call.headers,
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if name not in leave_out]
    head = "\r\n".join([f"POST {target} HTTP/1.1", *lines, *add])
    return head.encode("latin-1") + b"\r\n\r\n" + call.body
