"""Looks at the queues of an installation without taking part in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.runtime.installation import is_rabbitmq, rabbitmq_settings, sqlite_path
from hookline.schemas.errors import Unreachable
from hookline.schemas.queue_states import QueueStates
from hookline.settings import Settings


@asynccontextmanager
async def visiting_queues(settings: Settings) -> AsyncIterator[QueueStates]:
    """Raises Unreachable, also for an embedded queue that no process has made yet, or SettingsError."""
    if is_rabbitmq(settings.broker):
        from hookline.broker.rabbitmq import visit  # noqa: PLC0415  loaded only if used

        async with visit.visiting_queues(rabbitmq_settings(settings)) as states:
            yield states
        return
    yield EmbeddedQueueStates(existing(sqlite_path(settings, settings.broker.urls[0])))


def existing(path: Path) -> Path:
    if not path.exists():
        raise Unreachable(f"{path} does not exist yet: `hookline run` or `hookline ingress` makes it")
    return path
