"""The stores on a server, whose libraries come with an extra: opened by the URL that the settings name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from hookline.schemas.errors import SettingsError
from hookline.settings import StoreSettings
from hookline.workers.room_log import RoomLog
from hookline.workers.store import Store

REDIS = ("redis://", "rediss://")
POSTGRESQL = ("postgresql://", "postgres://")


class OpenStore(Store, Protocol):
    """A store that somebody has to close."""

    async def close(self) -> None: ...


class OpenRoomLog(RoomLog, Protocol):
    """A room log that somebody has to close."""

    async def close(self) -> None: ...


async def open_store(settings: StoreSettings) -> OpenStore:
    """Raises Unreachable, or SettingsError for a URL of no kind that we know, or without its library."""
    if settings.url.startswith(REDIS):
        with _extra("redis"):
            from hookline.workers.stores.redis.store import RedisStore  # noqa: PLC0415  an extra

        return await RedisStore.open(settings.url, settings.ttl_s, settings.timeout_s)
    if settings.url.startswith(POSTGRESQL):
        with _extra("postgresql"):
            from hookline.workers.stores.postgresql.store import PostgresqlStore  # noqa: PLC0415  an extra

        return await PostgresqlStore.open(settings.url, settings.ttl_s, settings.timeout_s, settings.max_transactions)
    raise _unknown()


async def open_room_log(settings: StoreSettings) -> OpenRoomLog:
    """Raises as `open_store` does."""
    if settings.url.startswith(REDIS):
        with _extra("redis"):
            from hookline.workers.stores.redis.room_log import RedisRoomLog  # noqa: PLC0415  an extra

        return await RedisRoomLog.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)
    if settings.url.startswith(POSTGRESQL):
        with _extra("postgresql"):
            from hookline.workers.stores.postgresql.room_log import PostgresqlRoomLog  # noqa: PLC0415  an extra

        return await PostgresqlRoomLog.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)
    raise _unknown()


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise SettingsError(f"store.url: this needs `pip install 'hookline[{name}]'` ({error})") from None


def _unknown() -> SettingsError:
    return SettingsError('store.url: expected "sqlite:FILE", "redis://…" or "postgresql://…"')
