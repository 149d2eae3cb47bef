"""Load at a constant rate, independent of the answers: `python -m benchmarks.load_open` is the program.

Each request has a scheduled time, and its latency counts from then, not from when it was sent. An ingress that stalls
for a second makes all requests of that second late, as it would for real callers.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import click
import msgspec
import uvloop

from benchmarks.callbacks import read_requests
from benchmarks.figures import percentile

CONNECTED = "connected\n"
ANSWERED = "answered\n"
_SETTLE_S = 15.0
_TICK_S = 0.001  # shorter sleeps are busy waiting on uvloop, and take CPU time from the ingress
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_GREETING = b"GET /healthz HTTP/1.1\r\nHost: hooks.example.com\r\n\r\n"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of each request, in the order of the file: status (0: no answer), latency, Unix time of the answer.

    `late_p99_ms` is how late requests were sent although a connection was free.
    """

    statuses: list[int]
    latencies_ms: list[float]
    answered_at_s: list[float]
    late_p99_ms: float

    def latency_ms(self, percent: float) -> float:
        return percentile(sorted(self.latencies_ms), percent)


class _Connection(asyncio.Protocol):
    """A connection with one request in flight at a time."""

    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._begun = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._number = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass

    async def begin(self) -> None:
        """Send a request that publishes nothing; return once it is answered, when the connection is free."""
        self.send(-1, _GREETING)
        await asyncio.wait_for(self._begun.wait(), _SETTLE_S)
        self._generator.free.append(self)

    def send(self, number: int, request: bytes) -> None:
        self._number = number
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(_HEAD_END)
        if end and len(body) >= _content_length(head):
            self._answer = b""
            if self._begun.is_set():
                self._generator.answered(self, self._number, int(head[9:12]))
            self._begun.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  as asyncio calls it
        self._generator.lost(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _content_length(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(_LENGTH) + len(_LENGTH)
    return int(lower[at:].partition(b"\r\n")[0])


def _report_and_wait(stage: str) -> None:
    """Report a stage, and wait for a line on stdin. This blocks the event loop, which has nothing else to do."""
    sys.stdout.write(stage)
    sys.stdout.flush()
    sys.stdin.readline()


class _Generator:
    def __init__(self, requests: Sequence[bytes], rate_per_s: float) -> None:
        self.free: deque[_Connection] = deque()
        self._requests = requests
        self._rate_per_s = rate_per_s
        self._overdue: deque[int] = deque()
        self._planned_s = [0.0] * len(requests)
        self._latencies_ms = [0.0] * len(requests)
        self._answered_at_s = [0.0] * len(requests)
        self._statuses = [0] * len(requests)
        self._late_ms: list[float] = []
        self._missing = len(requests)
        self._complete = asyncio.Event()

    async def run(self, port: int, connections: int) -> Result:
        """Send all requests. One line on stdin starts this once all are connected, another one disconnects them."""
        connected = [await self._connect(port) for _ in range(connections)]
        _report_and_wait(CONNECTED)
        await self._send_all()
        with suppress(TimeoutError):  # the statuses show which requests have no answer
            await asyncio.wait_for(self._complete.wait(), _SETTLE_S)
        _report_and_wait(ANSWERED)
        for connection in connected:
            connection.close()
        return Result(
            statuses=self._statuses,
            latencies_ms=self._latencies_ms,
            answered_at_s=self._answered_at_s,
            late_p99_ms=percentile(sorted(self._late_ms), 99),
        )

    async def _connect(self, port: int) -> _Connection:
        """A connection that has received an answer, so that the ingress keeps it alive while it is idle."""
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(self), "127.0.0.1", port)
        await connection.begin()
        return connection

    async def _send_all(self) -> None:
        """Send each request at its scheduled time, or as soon afterwards as a connection is free."""
        started_s = time.perf_counter()
        number = 0
        while number < len(self._requests):
            now_s = time.perf_counter()
            due = min(len(self._requests), int((now_s - started_s) * self._rate_per_s) + 1)
            for each in range(number, due):
                self._planned_s[each] = started_s + each / self._rate_per_s
                self._send(each, now_s)
            number = due
            await asyncio.sleep(_TICK_S)

    def _send(self, number: int, now_s: float) -> None:
        if not self.free:
            self._overdue.append(number)
            return
        self._late_ms.append((now_s - self._planned_s[number]) * 1000)
        self.free.popleft().send(number, self._requests[number])

    def answered(self, connection: _Connection, number: int, status: int) -> None:
        self._latencies_ms[number] = (time.perf_counter() - self._planned_s[number]) * 1000
        self._answered_at_s[number] = time.time()
        self._statuses[number] = status
        if self._overdue:
            overdue = self._overdue.popleft()
            connection.send(overdue, self._requests[overdue])
        else:
            self.free.append(connection)
        self._missing -= 1
        if not self._missing:
            self._complete.set()

    def lost(self, connection: _Connection) -> None:
        if connection in self.free:
            self.free.remove(connection)


@click.command()
@click.argument("port", type=int)
@click.argument("requests", type=click.Path(path_type=Path))
@click.argument("connections", type=int)
@click.argument("rate_per_s", type=float)
@click.argument("result", type=click.Path(path_type=Path))
def main(port: int, requests: Path, connections: int, rate_per_s: float, result: Path) -> None:
    """Send every request of a file at a constant rate, and write the results to another file as JSON."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(_Generator(read_requests(requests), rate_per_s).run(port, connections))
    result.write_bytes(msgspec.json.encode(results))


if __name__ == "__main__":
    main()
