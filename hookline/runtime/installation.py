"""Opens the broker, the store and the event log that the settings' URLs name."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from hookline.audit.writer import SqliteRefusalWriter
from hookline.import_errors import optional_libraries
from hookline.runtime.shutdown import ClosingTime
from hookline.schemas.broker import WAITING_FACTOR, Broker, Publisher, Retention
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.schemas.observer import NOBODY, Observer
from hookline.settings import Settings
from hookline.settings_sections import RABBITMQ_URLS, REDIS_URLS, SQLITE_URL, BrokerSettings, StoreSettings
from hookline.sqlite.database import Database
from hookline.workers.event_log import EventLog, EventStorage
from hookline.workers.event_states import EventStates
from hookline.workers.store import Store

if TYPE_CHECKING:
    from hookline.broker.rabbitmq.broker import RabbitMQBroker
    from hookline.broker.rabbitmq.connection import RabbitMQSettings
    from hookline.broker.spool.publisher import SpoolingPublisher
    from hookline.broker.spool.spool import Spool


_MAX_NAME_BYTES = 247  # SQLite adds "-journal"
_START_S = 1.0
"""How long an ingress with a spool waits for RabbitMQ before it listens, and goes on connecting in the background."""

log = logging.getLogger("hookline")


class _Closable(Protocol):
    async def close(self) -> None: ...


P = TypeVar("P", bound=_Closable)


class Installation:
    """Opens each part once, and closes them: what publishes through others first, the files last.

    `broker_is_back` is called whenever a lost connection to RabbitMQ is back.
    """

    def __init__(self, settings: Settings, broker_is_back: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._broker_is_back = broker_is_back
        self._rabbitmq: RabbitMQBroker | None = None
        self.observer = NOBODY
        """Is told of what happens to a broker that is opened from then on."""
        self.spool: Spool | None = None
        """The spool of the ingress, once it is open."""
        self.closing = ClosingTime()
        """How long everything may take to close: the parts, and what uses them."""
        self._publishers: list[_Closable] = []
        self._clients: list[_Closable] = []
        self._files: list[_Closable] = []
        self._databases: dict[Path, Database] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        async with AsyncExitStack() as closing:  # the last first, also if one fails
            for parts in (self._files, self._clients, self._publishers):
                closing.push_async_callback(self._close, parts)

    async def _close(self, parts: Sequence[_Closable]) -> None:
        await self.closing.close(*(part.close() for part in parts))

    async def broker(self, *, may_be_away: bool = False) -> Broker:
        """Raises Unreachable, or SettingsError.

        RabbitMQ may be away if nothing but the ingress needs it, and there is a spool.
        """
        settings = self._settings.broker
        if is_rabbitmq(settings):
            may_be_away = may_be_away and bool(self._settings.spool.path)
            rabbitmq = rabbitmq_settings(self._settings, self.observer)
            self._rabbitmq = await _open_rabbitmq(rabbitmq, self._broker_is_back, may_be_away=may_be_away)
            return _noted(self._rabbitmq, self._clients)
        return _noted(_embedded(await self._database(settings.urls[0]), self._settings), self._clients)

    def use(self, settings: Settings) -> None:
        """Open parts with these settings from now on. An open RabbitMQ broker uses their addresses.

        Raises SettingsError.
        """
        if is_rabbitmq(settings.broker):
            addresses = rabbitmq_settings(settings)
            if self._rabbitmq is not None:
                self._rabbitmq.use_addresses(addresses)
        self._settings = settings

    def connect_soon(self) -> None:
        """Another process has reached RabbitMQ."""
        if self._rabbitmq is not None:
            self._rabbitmq.connect_soon()

    async def ingress_publisher(self, broker: Broker) -> Publisher:
        """The publisher of the ingress. On RabbitMQ it keeps what is not confirmed in the spool, if there is one.

        Raises SettingsError for a spool that everybody may write to.
        """
        if self._rabbitmq is None or not self._settings.spool.path:
            return broker.publisher
        publisher = _noted(_spooling(self._rabbitmq, self._settings), self._publishers)
        self.spool = publisher.spool
        await publisher.open()
        return publisher

    async def store(self) -> Store:
        """Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(SQLITE_URL):
            from hookline.workers.stores.sqlite.store import SqliteStore  # noqa: PLC0415  loaded only if used

            return SqliteStore(await self._database(settings.url), settings.ttl_s)
        return _noted(await _open_store(settings), self._clients)

    async def event_log(self) -> EventLog:
        """Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(SQLITE_URL):
            from hookline.workers.stores.sqlite.event_log import SqliteEventStorage  # noqa: PLC0415  loaded only if used

            return EventLog(await SqliteEventStorage.open(await self._database(settings.url), settings.rooms_ttl_s))
        return EventLog(_noted(await _open_event_storage(settings), self._clients))

    async def event_states(self) -> EventStates:
        """What looks up what queues have done with an event. Raises Unreachable, or SettingsError."""
        settings = self._settings.store
        if settings.url.startswith(SQLITE_URL):
            from hookline.workers.stores.sqlite.event_states import SqliteEventStates  # noqa: PLC0415  loaded only if used

            return SqliteEventStates(await self._database(settings.url))
        return _noted(await _open_event_states(settings), self._clients)

    def refusal_writer(self) -> SqliteRefusalWriter | None:
        """What stores refused requests, or None if the audit is switched off."""
        path = refusals_path(self._settings)
        return None if path is None else _noted(SqliteRefusalWriter(path, self._settings.audit), self._files)

    async def _database(self, url: str) -> Database:
        path = sqlite_path(self._settings, url)
        if path not in self._databases:
            self._databases[path] = _noted(await Database.open(path), self._files)
        return self._databases[path]


def _noted(part: P, parts: list[_Closable]) -> P:
    """The part, which closes with these."""
    parts.append(part)
    return part


def is_rabbitmq(settings: BrokerSettings) -> bool:
    """Whether the URLs are RabbitMQ's; False for the embedded queue."""
    return settings.urls[0].startswith(RABBITMQ_URLS)


def broker_name(settings: Settings) -> str:
    """The queue that the settings name, without user and password. Raises SettingsError."""
    if not is_rabbitmq(settings.broker):
        return str(sqlite_path(settings, settings.broker.urls[0]))
    addresses = rabbitmq_settings(settings).addresses
    return ", ".join(sorted(f"{each.place}{each.url.path}" for each in addresses))


def needs_servers(settings: Settings) -> bool:
    """Whether the queue or the store is on a server, which may be away at the start."""
    return is_rabbitmq(settings.broker) or not settings.store.url.startswith(SQLITE_URL)


def _retention(settings: Settings) -> Retention:
    history = settings.history
    return Retention(history.enabled, history.max_age_s, history.max_bytes)


def _embedded(database: Database, settings: Settings) -> Broker:
    from hookline.broker.embedded.broker import EmbeddedBroker  # noqa: PLC0415  loaded only if used
    from hookline.broker.embedded.publisher import Limits  # noqa: PLC0415  as above

    broker = settings.broker
    limits = Limits(broker.max_in_flight, broker.publish_timeout_s, broker.max_bytes, _retention(settings))
    return EmbeddedBroker(database, limits)


async def _open_rabbitmq(
    settings: "RabbitMQSettings", back: Callable[[], None], *, may_be_away: bool
) -> "RabbitMQBroker":
    from hookline.broker.rabbitmq.broker import RabbitMQBroker  # noqa: PLC0415  loaded only if used

    if not may_be_away:
        return await RabbitMQBroker.open(settings, back)
    try:
        async with asyncio.timeout(_START_S):
            return await RabbitMQBroker.open(settings, back)
    except (Unreachable, TimeoutError) as error:
        reason = str(error) or "it does not answer"
        log.warning("starting without RabbitMQ; events are kept in the spool until it is there: %s", reason)
        return RabbitMQBroker.open_soon(settings, back)


def _spooling(broker: "RabbitMQBroker", settings: Settings) -> "SpoolingPublisher":
    from hookline.broker.spool.opening import SpoolSettings, spooling_publisher  # noqa: PLC0415  loaded only if used

    spool = settings.spool
    return spooling_publisher(
        broker.publisher,
        SpoolSettings(
            folder=spool_folder(settings),
            after_s=spool.after_s,
            max_bytes=spool.max_bytes,
            max_age_s=spool.max_age_s,
            max_draining=max(settings.broker.max_in_flight // 2, 1),
        ),
    )


def spool_folder(settings: Settings) -> Path:
    return _beside(settings, settings.spool.path)


def refusals_path(settings: Settings) -> Path | None:
    """The file of the audit of refused requests; None if it is switched off."""
    return settings.path.parent / settings.audit.path if settings.audit.path else None


def sqlite_path(settings: Settings, url: str) -> Path:
    """The file that a `sqlite:` URL names. Raises SettingsError for a name that none can have."""
    path = _beside(settings, url.removeprefix(SQLITE_URL))
    if len(os.fsencode(path.name)) > _MAX_NAME_BYTES:
        raise SettingsError(
            f"{path} cannot be opened: its name has more than {_MAX_NAME_BYTES} bytes; name another file"
        )
    if os.path.islink(path):  # noqa: PTH114  Path.is_symlink raises if this user may not look into a parent
        raise SettingsError(f"{path} cannot be opened: it is a link that leads back to itself; name another file")
    return path


def _beside(settings: Settings, name: str) -> Path:
    """A path beside the settings, without links unless they lead back to themselves."""
    return Path(os.path.realpath(settings.path.parent / name))


def sharing_one_file(settings: Settings) -> bool:
    """Whether the queues and the store are in one SQLite file, and so have one fault."""
    urls = (settings.broker.urls[0], settings.store.url)
    return all(url.startswith(SQLITE_URL) for url in urls) and len({sqlite_path(settings, url) for url in urls}) == 1


def rabbitmq_settings(settings: Settings, observer: Observer = NOBODY) -> "RabbitMQSettings":
    """Raises SettingsError for a malformed address."""
    from hookline.broker.rabbitmq.connection import RabbitMQSettings  # noqa: PLC0415  loaded only if used

    return RabbitMQSettings(
        url=settings.broker.urls,
        publish_timeout_s=settings.broker.publish_timeout_s,
        max_in_flight=settings.broker.max_in_flight,
        max_waiting=0 if settings.spool.path else WAITING_FACTOR * settings.broker.max_in_flight,
        retention=_retention(settings),
        folder=settings.path.parent,
        observer=observer,
        management_url=settings.broker.management_url,
    )


class _OpenStore(Store, _Closable, Protocol):
    """A store with a connection to close."""


class _OpenEventStorage(EventStorage, _Closable, Protocol):
    """The storage of an event log, with a connection to close."""


class _OpenEventStates(EventStates, _Closable, Protocol):
    """What looks up the states of events, with a connection to close."""


async def _open_store(settings: StoreSettings) -> _OpenStore:
    """Raises Unreachable, or SettingsError without the library of the store."""
    if settings.url.startswith(REDIS_URLS):
        with optional_libraries("redis", "store.url: Redis needs a library"):
            from hookline.workers.stores.redis.store import RedisStore  # noqa: PLC0415  an extra

        return await RedisStore.open(settings.url, settings.ttl_s, settings.timeout_s)
    with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
        from hookline.workers.stores.postgresql.store import PostgresqlStore  # noqa: PLC0415  an extra

    return await PostgresqlStore.open(settings.url, settings.ttl_s, settings.timeout_s, settings.max_transactions)


async def _open_event_storage(settings: StoreSettings) -> _OpenEventStorage:
    """Raises as `open_store` does."""
    if settings.url.startswith(REDIS_URLS):
        with optional_libraries("redis", "store.url: Redis needs a library"):
            from hookline.workers.stores.redis.event_log import RedisEventStorage  # noqa: PLC0415  an extra

        return await RedisEventStorage.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)
    with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
        from hookline.workers.stores.postgresql.event_log import PostgresqlEventStorage  # noqa: PLC0415  an extra

    return await PostgresqlEventStorage.open(settings.url, settings.rooms_ttl_s, settings.timeout_s)


async def _open_event_states(settings: StoreSettings) -> _OpenEventStates:
    """Raises as `open_store` does."""
    if settings.url.startswith(REDIS_URLS):
        with optional_libraries("redis", "store.url: Redis needs a library"):
            from hookline.workers.stores.redis.event_states import RedisEventStates  # noqa: PLC0415  an extra

        return RedisEventStates(settings.url, settings.timeout_s)
    with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
        from hookline.workers.stores.postgresql.event_states import PostgresqlEventStates  # noqa: PLC0415  an extra

    return await PostgresqlEventStates.open(settings.url, settings.timeout_s)
