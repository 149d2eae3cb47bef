"""Where the parts are put together: which broker and which store the settings' URLs name."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from hookline.runtime.stores import open_room_log, open_store
from hookline.schemas.broker import Broker, Retention
from hookline.schemas.errors import SettingsError
from hookline.settings import BrokerSettings, Settings
from hookline.sqlite.database import Database
from hookline.workers.room_log import RoomLog
from hookline.workers.store import Store
from hookline.workers.stores.sqlite.room_log import SqliteRoomLog
from hookline.workers.stores.sqlite.store import SqliteStore

_SQLITE = "sqlite:"


class Installation:
    """Opens what the settings name, each thing once, and closes it in the opposite order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = AsyncExitStack()
        self._databases: dict[Path, Database] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    async def broker(self) -> Broker:
        """Raises Unreachable, or SettingsError for a URL of no kind that we know."""
        settings, history = self._settings.broker, self._settings.history
        retention = Retention(history.enabled, history.max_age_s, history.max_bytes)
        if settings.url.startswith(_SQLITE):
            broker: Broker = _embedded(await self._database(settings.url), settings, retention)
        elif settings.url.startswith(("amqp://", "amqps://")):
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
        store = await open_store(settings)
        self._open.push_async_callback(store.close)
        return store

    async def room_log(self) -> RoomLog:
        """Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(_SQLITE):
            return SqliteRoomLog(await self._database(settings.url), settings.rooms_ttl_s)
        log = await open_room_log(settings)
        self._open.push_async_callback(log.close)
        return log

    async def _database(self, url: str) -> Database:
        path = (self._settings.path.parent / url.removeprefix(_SQLITE)).resolve()
        if path not in self._databases:
            self._databases[path] = await Database.open(path)
            self._open.push_async_callback(self._databases[path].close)
        return self._databases[path]


def _embedded(database: Database, settings: BrokerSettings, retention: Retention) -> Broker:
    from hookline.broker.embedded.broker import EmbeddedBroker, Limits  # noqa: PLC0415  only what is used is loaded

    limits = Limits(settings.max_in_flight, settings.publish_timeout_s, settings.max_bytes, retention)
    return EmbeddedBroker(database, limits)


async def _open_rabbitmq(settings: BrokerSettings, retention: Retention) -> Broker:
    from hookline.broker.rabbitmq.broker import RabbitMQBroker  # noqa: PLC0415  only what is used is loaded
    from hookline.broker.rabbitmq.connection import RabbitMQSettings  # noqa: PLC0415  likewise

    return await RabbitMQBroker.open(
        RabbitMQSettings(
            url=settings.url,
            publish_timeout_s=settings.publish_timeout_s,
            max_in_flight=settings.max_in_flight,
            retention=retention,
        )
    )


def shown(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    return url if parts.password is None else url.replace(f":{parts.password}@", ":***@")
