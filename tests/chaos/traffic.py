"""Sends a run's events over HTTP at a steady rate. A room's events go one after another, each until it has a 2xx."""

import asyncio
import time
from dataclasses import dataclass
from random import Random

import aiohttp

from tests.chaos.events import Key, Sent, Type, body, signature

_ANSWER_S = 10.0
_RETRY_S = 0.5
_REPEATED = 0.03
_TYPES: tuple[Type, ...] = ("joined", "left")


@dataclass(frozen=True, slots=True)
class Volume:
    """So many events, evenly spread over so many seconds, at random over so many rooms."""

    events: int
    seconds: float
    rooms: int


class Traffic:
    """`sent` has every event once it was tried; some are sent again later, as providers do."""

    def __init__(self, url: str, secret: str, volume: Volume, seed: int) -> None:
        self.sent: list[Sent] = []
        self.slowest_answer_s = 0.0
        self._url = url
        self._secret = secret
        self._volume = volume
        self._random = Random(seed)  # noqa: S311  # no secret

    async def run(self) -> None:
        """Return once every event has a 2xx."""
        rooms = [f"room-{number}" for number in range(self._volume.rooms)]
        queues = {room: asyncio.Queue[Type | None]() for room in rooms}
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            for room, queue in queues.items():
                tasks.create_task(self._send_room(session, room, queue))
            await self._fill(list(queues.values()))

    async def _fill(self, queues: list[asyncio.Queue[Type | None]]) -> None:
        started_at = time.monotonic()
        for number in range(self._volume.events):
            due_at = started_at + number * self._volume.seconds / self._volume.events
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            self._random.choice(queues).put_nowait(self._random.choice(_TYPES))
        for queue in queues:
            queue.put_nowait(None)

    async def _send_room(self, session: aiohttp.ClientSession, room: str, queue: asyncio.Queue[Type | None]) -> None:
        bodies: list[bytes] = []
        while (event_type := await queue.get()) is not None:
            sent = Sent(Key(room, len(bodies)), event_type, time.monotonic())
            self.sent.append(sent)
            bodies.append(body(sent.key, event_type))
            while not await self._post(session, bodies[-1]):
                sent.tries += 1
                await asyncio.sleep(_RETRY_S)
            sent.acked_at = time.monotonic()
            if self._random.random() < _REPEATED:
                await self._post(session, self._random.choice(bodies))

    async def _post(self, session: aiohttp.ClientSession, content: bytes) -> bool:
        """Whether the answer is a 2xx."""
        headers = {"Content-Type": "application/json", "KRTC-Signature": signature(self._secret, content)}
        started_at = time.monotonic()
        try:
            async with session.post(self._url, data=content, headers=headers) as response:
                await response.read()
                self.slowest_answer_s = max(self.slowest_answer_s, time.monotonic() - started_at)
                return response.ok
        except (aiohttp.ClientError, TimeoutError):
            return False
