"""Opens the broker, the store and the event log that the settings' URLs name."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol, Self, TypeVar

from hookline.import_errors import optional_libraries
from hookline.schemas.broker import Broker, Retention
from hookline.schemas.errors import SettingsError
from hookline.settings import BrokerSettings, Settings, StoreSettings
from hookline.sqlite.database import Database
from hookline.workers.event_log import EventLog, EventStorage
from hookline.workers.store import Store
from hookline.workers.stores.sqlite.event_log import SqliteEventStorage
from hookline.workers.stores.sqlite.store import SqliteStore

_SQLITE = "sqlite:"
_RABBITMQ = ("amqp://", "amqps://")
_REDIS = ("redis://", "rediss://")
_POSTGRESQL = ("postgresql://", "postgres://")


class _Closable(Protocol):
    async def close(self) -> None: ...


P = TypeVar("P", bound=_Closable)


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
        return self._to_close(broker)

    async def store(self) -> Store:
        """Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(_SQLITE):
            return SqliteStore(await self._database(settings.url), settings.ttl_s)
        return self._to_close(await _open_store(settings))

    async def event_log(self) -> EventLog:
        """Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(_SQLITE):
            return EventLog(await SqliteEventStorage.open(await self._database(settings.url), settings.rooms_ttl_s))
        return EventLog(self._to_close(await _open_event_storage(settings)))

    async def _database(self, url: str) -> Database:
        path = (self._settings.path.parent / url.removeprefix(_SQLITE)).resolve()
        if path not in self._databases:
            self._databases[path] = self._to_close(await Database.open(path))
        return self._databases[path]

    def _to_close(self, part: P) -> P:
        """The part, which closes with the installation."""
        self._open.push_async_callback(part.close)
        return part


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


class _OpenStore(Store, _Closable, Protocol):
    """A store with a connection to close."""


class _OpenEventStorage(EventStorage, _Closable, Protocol):
    """The storage of an event log, with a connection to close."""


async def _open_store(settings: StoreSettings) -> _OpenStore:
    """Raises Unreachable, or SettingsError for a URL of an unknown kind or without its library."""
    if settings.url.startswith(_REDIS):
        with optional_libraries("redis", "store.url: Redis needs a library"):
            from hookline.workers.stores.redis.store import RedisStore  # noqa: PLC0415  an extra

        return await RedisStore.open(settings.url, settings.ttl_s, settings.timeout_s)
    if settings.url.startswith(_POSTGRESQL):
        with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
            from hookline.workers.stores.postgresql.store import PostgresqlStore  # noqa: PLC0415  an extra

        return await PostgresqlStore.open(settings.url, settings.ttl_s, settings.timeout_s, settings.max_transactions)
    raise _unknown_store()


async def _open_event_storage(settings: StoreSettings) -> _OpenEventStorage:
    """Raises as `open_store` does."""
    if settings.url.startswith(_REDIS):
        with optional_libraries("redis", "store.url: Redis needs a library"):
            from hookline.workers.stores.redis.event_log import RedisEventStorage  # noqa: PLC0415  an extra

        return await RedisEventStorage.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)
    if settings.url.startswith(_POSTGRESQL):
        with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
            from hookline.workers.stores.postgresql.event_log import PostgresqlEventStorage  # noqa: PLC0415  an extra

        return await PostgresqlEventStorage.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)
    raise _unknown_store()


def _unknown_store() -> SettingsError:
    return SettingsError('store.url: expected "sqlite:FILE", "redis://…" or "postgresql://…"')
