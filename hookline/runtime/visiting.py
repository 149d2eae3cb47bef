"""Looks at the queues and the event log of an installation without taking part in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.runtime.installation import Installation, is_rabbitmq, rabbitmq_settings, sqlite_path
from hookline.schemas.errors import Unreachable
from hookline.schemas.queue_states import QueueStates
from hookline.settings import Settings
from hookline.settings_sections import SQLITE_URL
from hookline.sqlite.faults import is_there
from hookline.workers.event_log import EventLog


@asynccontextmanager
async def visiting_queues(settings: Settings) -> AsyncIterator[QueueStates]:
    """Raises Unreachable, also for an embedded queue that no process has made yet, or SettingsError."""
    if is_rabbitmq(settings.broker):
        from hookline.broker.rabbitmq.visit import visiting  # noqa: PLC0415  loaded only if used

        async with visiting(rabbitmq_settings(settings)) as visit:
            yield visit.queue_states
        return
    path = sqlite_path(settings, settings.broker.urls[0])
    if not is_there(path):
        raise Unreachable(f"{path} does not exist yet: `hookline run` or `hookline ingress` makes it")
    yield EmbeddedQueueStates(path)


@asynccontextmanager
async def visiting_event_log(settings: Settings) -> AsyncIterator[EventLog]:
    """Raises Unreachable, also for a file that no worker has made yet, or SettingsError."""
    url = settings.store.url
    if url.startswith(SQLITE_URL) and not is_there(path := sqlite_path(settings, url)):
        raise Unreachable(f"{path} does not exist yet: the worker `rooms` makes it")
    async with Installation(settings) as installation:
        yield await installation.event_log()
