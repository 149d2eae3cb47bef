"""What the inspector reads, opened when somebody looks and closed when nobody does.

It shares nothing with the parts of the process that receive and handle events, so that a look costs them nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from hookline.audit.reader import RefusalReader
from hookline.broker.spool.visit import SpoolContents, contents
from hookline.runtime.installation import Installation, is_rabbitmq, refusals_path, spool_folder, sqlite_path
from hookline.runtime.visiting import visiting_queues
from hookline.schemas.broker import Broker
from hookline.schemas.errors import Unreachable
from hookline.schemas.queue_states import QueueState
from hookline.settings import Settings
from hookline.sqlite.faults import is_there
from hookline.workers.event_log import EventLog
from hookline.workers.event_states import EventStates

T = TypeVar("T")

IDLE_S = 30.0
_SQLITE = "sqlite:"


class Parts:
    """The parts of an installation. Each is opened once, when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._installation = Installation(settings)
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def event_log(self) -> EventLog:
        """Raises Unreachable, or SettingsError."""
        self._check_file(self._settings.store.url)
        return await self._once("log", self._installation.event_log)

    async def event_states(self) -> EventStates:
        """Raises Unreachable, or SettingsError."""
        self._check_file(self._settings.store.url)
        return await self._once("states", self._installation.event_states)

    async def broker(self) -> Broker:
        """Raises Unreachable, or SettingsError."""
        self._check_file(self._settings.broker.urls[0])
        return await self._once("broker", self._installation.broker)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self._installation.__aexit__()

    async def _once(self, name: str, open_: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The part. One that could not be opened is opened anew the next time."""
        task = self._tasks.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._tasks[name] = asyncio.create_task(open_())
        opened: T = await asyncio.shield(task)
        return opened

    def _check_file(self, url: str) -> None:
        """Make no file on a machine whose workers keep theirs elsewhere. Raises Unreachable."""
        if url.startswith(_SQLITE) and not is_there(path := sqlite_path(self._settings, url)):
            raise Unreachable(f"{path} does not exist: ask the inspector of a process that runs workers")


class Reading:
    """Gives the parts to pages, and closes them when no page has asked for half a minute."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._parts: Parts | None = None
        self._readers = 0
        self._closing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[Parts]:
        self._readers += 1
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        self._parts = self._parts or Parts(self.settings)
        try:
            yield self._parts
        finally:
            self._readers -= 1
            if not self._readers:
                self._closing = asyncio.create_task(self._close_when_idle())

    async def close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        if (parts := self._parts) is not None:
            self._parts = None
            await parts.close()

    async def _close_when_idle(self) -> None:
        await asyncio.sleep(IDLE_S)
        parts, self._parts, self._closing = self._parts, None, None
        if parts is not None:
            await asyncio.shield(parts.close())

    async def queues(self) -> Sequence[QueueState]:
        """The queues, at most 200. Raises Unreachable, or SettingsError."""
        async with visiting_queues(self.settings) as states:
            return await states.states((await states.names())[:_MAX_QUEUES], retrying=True)

    async def unrouted(self) -> int:
        """How many events no queue wanted. Raises Unreachable, or SettingsError."""
        async with visiting_queues(self.settings) as states:
            return await states.unrouted()

    def refusals(self) -> RefusalReader | None:
        """The audit of this machine; None if it is switched off."""
        path = refusals_path(self.settings)
        return None if path is None else RefusalReader(path)

    async def spool(self, *, max_bytes: int | None = None) -> SpoolContents | None:
        """What waits on this machine's disk for RabbitMQ; None where there is no spool.

        To count it, all of it is read. Raises Unreachable, also for files of more than `max_bytes`.
        """
        if not self.settings.spool.path or not is_rabbitmq(self.settings.broker):
            return None
        folder = spool_folder(self.settings)
        try:
            size = await asyncio.to_thread(_bytes_in, folder)
            if max_bytes is not None and size > max_bytes:
                mib = f"{size / 2**20:.0f} MiB"
                raise Unreachable(f"the spool has files of {mib}; the page of the queues counts what waits")
            return await asyncio.to_thread(contents, folder)
        except OSError as error:
            raise Unreachable(f"the spool cannot be read: {error.strerror}") from None


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*"))


_MAX_QUEUES = 200
