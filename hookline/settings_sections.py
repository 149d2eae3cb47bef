"""The sections of the settings file, and what each may hold. The ingress and `admin` define their own."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec

from hookline.admin.settings import AdminSettings, InspectorSettings, TracingSettings
from hookline.ingress.settings import CENTURY_S, AuditSettings, Count, IngressSettings, Seconds
from hookline.schemas.provider import DEFAULT_MAX_BODY_BYTES, DEFAULT_TOLERANCE_S
from hookline.settings_faults import host_fault, hosts_of, is_web_address, sqlite_fault
from hookline.settings_repr import HidesSecrets
from hookline.workers.breaker import NEVER_OPENS

LogErrors: TypeAlias = Literal["place", "text", "full"]

DEFAULT_URL = "sqlite:hookline.db"
SQLITE_URL = "sqlite:"
RABBITMQ_URLS = ("amqp://", "amqps://")
REDIS_URLS = ("redis://", "rediss://")
POSTGRESQL_URLS = ("postgresql://", "postgres://")
_MAX_BODY_BYTES = 16 * 2**20


class BrokerSettings(HidesSecrets, frozen=True, forbid_unknown_fields=True):
    """`url` may be a list: the nodes of a RabbitMQ cluster.

    `management_url` is the address of RabbitMQ's management API, such as `http://rabbit:15672`. It shows what AMQP does
    not: events in flight, bindings that another tool has removed, policies that delete events. Its user is that of
    `url`, with the tag `management`, unless the address names another.

    `max_bytes` limits the file of the embedded broker, `max_in_flight` the events that wait for their confirm. Without
    a spool, ten times as many wait for room.
    """

    secrets = frozenset({"url", "management_url"})

    url: str | Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = DEFAULT_URL
    management_url: str = ""
    publish_timeout_s: Seconds = 5
    max_in_flight: Count = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=2**20)] = 10 * 2**30

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.url,) if isinstance(self.url, str) else self.url

    @property
    def fault(self) -> str | None:
        """What is wrong, beginning with the key; None if nothing is."""
        if self.management_url and not is_web_address(self.management_url):
            return 'management_url: expected the address of RabbitMQ\'s management, such as "http://rabbit:15672"'
        if all(url.startswith(RABBITMQ_URLS) for url in self.urls):
            fault = host_fault(host for url in self.urls for host in hosts_of(url))
            return fault and f"url: {fault}"
        if len(self.urls) == 1 and self.urls[0].startswith(SQLITE_URL):
            return sqlite_fault(self.urls[0].removeprefix(SQLITE_URL))
        return 'url: expected "sqlite:FILE", or "amqp://…" or a list of those for RabbitMQ'


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What RabbitMQ does not confirm within `after_s` is kept in the folder `path`, and published later.

    An empty path switches that off. The spool takes no more at `max_bytes`, or while its oldest event is older than
    `max_age_s`. The embedded queue needs no spool.
    """

    path: str = "hookline-spool"
    after_s: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 1.0
    max_bytes: Annotated[int, msgspec.Meta(ge=2**20)] = 2**30
    max_age_s: Annotated[float, msgspec.Meta(ge=60, le=CENTURY_S)] = 7 * 24 * 3600


class StoreSettings(HidesSecrets, frozen=True, forbid_unknown_fields=True):
    """The store, and how long it keeps things.

    `ttl_s` is how long finished events are remembered. `rooms_ttl_s` is how long an event stays in the event log, which
    the room view is made of, after its receipt. `timeout_s` limits each wait for Redis or PostgreSQL, and
    `max_transactions` the PostgreSQL connections that a process uses for transactional workers.
    """

    secrets = frozenset({"url"})

    url: str = DEFAULT_URL
    timeout_s: Seconds = 5
    max_transactions: Count = 20
    ttl_s: Annotated[float, msgspec.Meta(ge=3600, le=CENTURY_S)] = 7 * 24 * 3600
    rooms_ttl_s: Annotated[float, msgspec.Meta(ge=3600, le=CENTURY_S)] = 30 * 24 * 3600

    @property
    def fault(self) -> str | None:
        """What is wrong, beginning with the key; None if nothing is."""
        if self.url.startswith(SQLITE_URL):
            return sqlite_fault(self.url.removeprefix(SQLITE_URL))
        if self.url.startswith((*REDIS_URLS, *POSTGRESQL_URLS)):
            fault = host_fault(hosts_of(self.url))
            return fault and f"url: {fault}"
        return 'url: expected "sqlite:FILE", "redis://…" or "postgresql://…"'


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether received events are kept for `hookline replay`, for how long at least, and how much of them at most."""

    enabled: bool = False
    max_age_s: Annotated[float, msgspec.Meta(ge=60, le=CENTURY_S)] = 7 * 24 * 3600
    max_bytes: Annotated[int, msgspec.Meta(ge=20 * 2**20)] = 10 * 2**30


class UnroutedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many events that no queue wants are kept. The oldest are dropped first."""

    max_events: Annotated[int, msgspec.Meta(ge=1, le=10**9)] = 1_000_000


class WorkersSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`shutdown_s` is how long events in flight may take after SIGTERM; then they go back to the queue.

    `state_s` is how long a worker's state may take to open, and to close. `unwanted_after_s`: an event that no process
    of its queue has wanted for that long is parked. At most `log_events_per_s` successful deliveries are logged each
    second. `breaker_percent`: if more than that of the last hundred deliveries of a queue were parked, its worker takes
    only one now and then until one is handled; 100 switches that off. `log_errors`: of an error in a worker's function,
    log its type and `place`, or its `text` too, or the `full` traceback. By default, it is `full` in `hookline run` and
    with `--reload`, else `place`. `keep_urls` leaves URLs in events that let anybody in who has them, such as those of
    recordings.
    """

    shutdown_s: Seconds = 20
    unwanted_after_s: Seconds = 600
    state_s: Seconds = 60
    log_events_per_s: Annotated[int, msgspec.Meta(ge=0)] = 1000
    breaker_percent: Annotated[int, msgspec.Meta(ge=1, le=NEVER_OPENS)] = 50
    log_errors: LogErrors | None = None
    keep_urls: bool = False


class SourceSettings(msgspec.Struct, frozen=True):
    """What every source may set beside `provider`; the provider's own settings are in the same table."""

    secrets: tuple[str, ...] = ()
    tolerance_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = DEFAULT_TOLERANCE_S
    allow_from: tuple[str, ...] = ()
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1, le=_MAX_BODY_BYTES)] = DEFAULT_MAX_BODY_BYTES
    max_bodies_per_signature: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    public_url: str = ""


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "broker": BrokerSettings,
    "spool": SpoolSettings,
    "store": StoreSettings,
    "history": HistorySettings,
    "unrouted": UnroutedSettings,
    "ingress": IngressSettings,
    "admin": AdminSettings,
    "inspector": InspectorSettings,
    "tracing": TracingSettings,
    "audit": AuditSettings,
    "workers": WorkersSettings,
}
