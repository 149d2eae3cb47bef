"""A NetEase user: asks once for each event, waits two seconds for the answer, and asks one room after the other."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Self

import aiohttp
import msgspec

from hookline.cli.sample_callbacks import Callback, send_callback
from hookline.schemas.provider import AnySource

ROOMS = 40
GIVES_UP_S = 2.0  # documented: NetEase waits two seconds, and does not ask again


@dataclass
class Sent:
    """What was sent to which room, in its order, and how it was answered."""

    accepted: dict[str, list[int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(map(len, self.accepted.values()))


class NetEaseUser:
    """Sends `per_second` events to all rooms together, until it is told to stop."""

    def __init__(self, url: str, source: AnySource, per_second: float, first: int = 1) -> None:
        self.sent = Sent()
        self._url = url
        self._source = source
        self._pause_s = ROOMS / per_second
        self._numbers = count(first)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        timeout = aiohttp.ClientTimeout(total=GIVES_UP_S)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=ROOMS))
        self._tasks = [asyncio.create_task(self._room(f"room-{number}")) for number in range(ROOMS)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        if self._session is not None:
            await self._session.close()

    async def _room(self, room: str) -> None:
        next_s = time.monotonic()
        while not self._stopping.is_set():
            await self._ask(room, next(self._numbers))
            next_s += self._pause_s
            await asyncio.sleep(max(next_s - time.monotonic(), 0))

    async def _ask(self, room: str, number: int) -> None:
        body = {
            "eventType": 21,
            "fromAccount": "teacher",
            "fromDeviceId": f"device-{number}",
            "channelName": room,
            "selfConfig": str(number),
            "timestamp": str(int(time.time() * 1000)),
        }
        assert self._session is not None
        callback = Callback(room, msgspec.json.encode(body), time.time())
        answer = await send_callback(self._session, self._url, self._source, callback)
        self.sent.seconds.append(answer.seconds)
        if answer.status == 200:
            self.sent.accepted.setdefault(room, []).append(number)
        else:
            self.sent.refused.append(f"{answer.status} {answer.text} after {answer.seconds:.3f} s")
