"""Opens the broker, the store and the room log that the settings' URLs name."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Protocol, Self

from hookline.schemas.broker import Broker, Retention
from hookline.schemas.errors import SettingsError
from hookline.settings import BrokerSettings, Settings, StoreSettings
from hookline.sqlite.database import Database
from hookline.workers.room_log import RoomLog
from hookline.workers.store import Store
from hookline.workers.stores.sqlite.room_log import SqliteRoomLog
from hookline.workers.stores.sqlite.store import SqliteStore

_SQLITE = "sqlite:"
_RABBITMQ = ("amqp://", "amqps://")
_REDIS = ("redis://", "rediss://")
_POSTGRESQL = ("postgresql://", "postgres://")


class Installation:
    """Opens each part once and closes them in the opposite order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = AsyncExitStack()
        self._databases: dict[Path, Database] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    async def broker(self) -> Broker:
        """Raises Unreachable, or SettingsError for a URL of an unknown kind."""
        settings, history = self._settings.broker, self._settings.history
        retention = Retention(history.enabled, history.max_age_s, history.max_bytes)
        if settings.url.startswith(_SQLITE):
            broker: Broker = _embedded(await self._database(settings.url), settings, retention)
        elif settings.url.startswith(_RABBITMQ):
            broker = await _open_rabbitmq(settings, retention)
        else:
            raise SettingsError('broker.url: expected "sqlite:FILE", or "amqp://…" for RabbitMQ')
        self._open.push_async_callback(broker.close)
        return broker

    async def store(self) -> Store:
        """Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(_SQLITE):
            return SqliteStore(await self._database(settings.url), settings.ttl_s)
        store = await _open_store(settings)
        self._open.push_async_callback(store.close)
        return store

    async def room_log(self) -> RoomLog:
        """Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(_SQLITE):
            return SqliteRoomLog(await self._database(settings.url), settings.rooms_ttl_s)
        log = await _open_room_log(settings)
        self._open.push_async_callback(log.close)
        return log

    async def _database(self, url: str) -> Database:
        path = (self._settings.path.parent / url.removeprefix(_SQLITE)).resolve()
        if path not in self._databases:
            self._databases[path] = await Database.open(path)
            self._open.push_async_callback(self._databases[path].close)
        return self._databases[path]


def _embedded(database: Database, settings: BrokerSettings, retention: Retention) -> Broker:
    from hookline.broker.embedded.broker import EmbeddedBroker, Limits  # noqa: PLC0415  loaded only if used

    limits = Limits(settings.max_in_flight, settings.publish_timeout_s, settings.max_bytes, retention)
    return EmbeddedBroker(database, limits)


async def _open_rabbitmq(settings: BrokerSettings, retention: Retention) -> Broker:
    from hookline.broker.rabbitmq.broker import RabbitMQBroker  # noqa: PLC0415  loaded only if used
    from hookline.broker.rabbitmq.connection import RabbitMQSettings  # noqa: PLC0415  loaded only if used

    return await RabbitMQBroker.open(
        RabbitMQSettings(
            url=settings.url,
            publish_timeout_s=settings.publish_timeout_s,
            max_in_flight=settings.max_in_flight,
            retention=retention,
        )
    )


class _OpenStore(Store, Protocol):
    """A store with a connection to close."""

    async def close(self) -> None: ...


class _OpenRoomLog(RoomLog, Protocol):
    """A room log with a connection to close."""

    async def close(self) -> None: ...


async def _open_store(settings: StoreSettings) -> _OpenStore:
    """Raises Unreachable, or SettingsError for a URL of an unknown kind or without its library."""
    if settings.url.startswith(_REDIS):
        with _extra("redis"):
            from hookline.workers.stores.redis.store import RedisStore  # noqa: PLC0415  an extra

        return await RedisStore.open(settings.url, settings.ttl_s, settings.timeout_s)
    if settings.url.startswith(_POSTGRESQL):
        with _extra("postgresql"):
            from hookline.workers.stores.postgresql.store import PostgresqlStore  # noqa: PLC0415  an extra

        return await PostgresqlStore.open(settings.url, settings.ttl_s, settings.timeout_s, settings.max_transactions)
    raise _unknown_store()


async def _open_room_log(settings: StoreSettings) -> _OpenRoomLog:
    """Raises as `open_store` does."""
    if settings.url.startswith(_REDIS):
        with _extra("redis"):
            from hookline.workers.stores.redis.room_log import RedisRoomLog  # noqa: PLC0415  an extra

        return await RedisRoomLog.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)
    if settings.url.startswith(_POSTGRESQL):
        with _extra("postgresql"):
            from hookline.workers.stores.postgresql.room_log import PostgresqlRoomLog  # noqa: PLC0415  an extra

        return await PostgresqlRoomLog.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)
    raise _unknown_store()


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise SettingsError(f"store.url: this needs `pip install 'hookline[{name}]'` ({error})") from None


def _unknown_store() -> SettingsError:
    return SettingsError('store.url: expected "sqlite:FILE", "redis://…" or "postgresql://…"')
