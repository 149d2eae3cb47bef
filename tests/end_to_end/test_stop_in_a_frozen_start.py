"""A process that is asked to stop while it starts ends in good time, wherever RabbitMQ fell silent."""

import asyncio
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from yarl import URL

from tests.amqp_proxy import AmqpProxy
from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.processes import WITHIN_S, Project

HEAD = struct.Struct(">BHI")
ENDS_S = 30.0
"""It takes one to five seconds; on a machine with twenty times as many runnable processes as cores, fifteen."""
WORKERS = '''
"""Two workers, one of which handles events in order."""

from hookline import worker
from hookline.events import RoomCreated


@worker(RoomCreated, queue="plain")
async def plain(event: RoomCreated) -> None:
    pass


@worker(RoomCreated, queue="ordered", ordered=True)
async def ordered(event: RoomCreated) -> None:
    pass
'''
INGRESS, WORKER, RUN = ("ingress",), ("worker", "workers.py"), ("run", "workers.py")


class FreezingProxy(AmqpProxy):
    """Passes so many frames of RabbitMQ, and then nothing more on any connection."""

    def __init__(self, target_port: int, frames: int) -> None:
        super().__init__(target_port)
        self._left = frames
        self.frozen = asyncio.Event()

    async def _downstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(HEAD.size)
            rest = await reader.readexactly(HEAD.unpack(head)[2] + 1)
            if not self._left:
                self.frozen.set()
                await asyncio.Event().wait()
            self._left -= 1
            writer.write(head + rest)


SILENT_FROM = [(INGRESS, 0), (INGRESS, 30), (WORKER, 2), (WORKER, 30), (RUN, 0), (RUN, 90)]
"""A process, and how many frames of RabbitMQ it gets: none, some of the connecting, of the declaring, most of them."""


@pytest.mark.parametrize(("role", "frames"), SILENT_FROM, ids=[f"{role[0]}, {n}" for role, n in SILENT_FROM])
async def test_a_start_that_hangs_can_be_stopped(
    request: pytest.FixtureRequest, tmp_path: Path, role: Sequence[str], frames: int
) -> None:
    url = URL((await fresh_rabbitmq(request.config)).address)
    (tmp_path / "workers.py").write_text(WORKERS)
    async with FreezingProxy(url.port or 0, frames) as proxy:
        project = Project(tmp_path, str(url.with_host("127.0.0.1").with_port(proxy.port)))
        try:
            process = project.start(*role, ready="")
            async with asyncio.timeout(WITHIN_S):
                await proxy.frozen.wait()
            asked_s = time.monotonic()
            process.popen.terminate()
            assert await asyncio.to_thread(process.popen.wait, WITHIN_S) == 0
            took_s = time.monotonic() - asked_s
            assert took_s < ENDS_S, process.output
            assert not process.count("unhandled")
            assert not process.count("never retrieved")
        finally:
            project.close()
