"""The settings file: `hookline.toml`, checked as a whole before anything starts."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from hookline.admin.settings import AdminSettings, InspectorSettings, TracingSettings
from hookline.ingress.settings import CENTURY_S, AuditSettings, Count, IngressSettings, Seconds
from hookline.outside_providers import is_reference, load_outside_providers
from hookline.schemas import topics
from hookline.schemas.errors import SettingsError
from hookline.schemas.near_names import nearest
from hookline.schemas.networks import Network
from hookline.schemas.provider import DEFAULT_MAX_BODY_BYTES, DEFAULT_TOLERANCE_S, AnySource, Provider, Source
from hookline.schemas.providers import Catalogue, catalogue
from hookline.settings_faults import (
    is_web_address,
    not_convertible,
    not_toml,
    not_utf8,
    sqlite_fault,
    unmarked_variables,
)
from hookline.settings_secrets import make_key, warnings_of, warnings_of_all
from hookline.settings_values import Resolver
from hookline.workers.breaker import NEVER_OPENS

S = TypeVar("S", bound=msgspec.Struct)
O = TypeVar("O", AdminSettings, TracingSettings, "BrokerSettings", "StoreSettings")  # noqa: E741  of an operator

LogErrors: TypeAlias = Literal["place", "text", "full"]

DEFAULT_URL = "sqlite:hookline.db"
SQLITE_URL = "sqlite:"
RABBITMQ_URLS = ("amqp://", "amqps://")
REDIS_URLS = ("redis://", "rediss://")
POSTGRESQL_URLS = ("postgresql://", "postgres://")
DEFAULT_PATH = "hookline.toml"
_MAX_BODY_BYTES = 16 * 2**20
_MAX_NUMBER = 2**63 - 1
_KEEPS_REQUESTS = (
    "audit.requests: refused requests are kept with their signatures and bodies; switch it off once the fault is found"
)
PUBLISHED = "provider"
"""Stands in `allow_from` for the addresses that the provider publishes."""


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` may be a list: the nodes of a RabbitMQ cluster.

    `management_url` is the address of RabbitMQ's management API, such as `http://rabbit:15672`. It shows what AMQP does
    not: events in flight, bindings that another tool has removed, policies that delete events. Its user is that of
    `url`, with the tag `management`, unless the address names another.

    `max_bytes` limits the file of the embedded broker, `max_in_flight` the events that wait for their confirm. Without
    a spool, ten times as many wait for room.
    """

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
            return None
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


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The store, and how long it keeps things.

    `ttl_s` is how long finished events are remembered. `rooms_ttl_s` is how long an event stays in the event log, which
    the room view is made of, after its receipt. `timeout_s` limits each wait for Redis or PostgreSQL, and
    `max_transactions` the PostgreSQL connections that a process uses for transactional workers.
    """

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
            return None
        return 'url: expected "sqlite:FILE", "redis://…" or "postgresql://…"'


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether received events are kept for `hookline replay`, for how long at least, and how much of them at most."""

    enabled: bool = False
    max_age_s: Annotated[float, msgspec.Meta(ge=60, le=CENTURY_S)] = 7 * 24 * 3600
    max_bytes: Annotated[int, msgspec.Meta(ge=20 * 2**20)] = 10 * 2**30


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


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A whole settings file, with its path.

    `sources` is empty for a role that needs none, and `source_names` has all. `source_providers` has the name of the
    provider of each. `providers` holds the built-in providers
    by name, and those from outside that the sources name. `warnings` are sentences about what is accepted and may still
    be a mistake.
    """

    path: Path
    broker: BrokerSettings
    spool: SpoolSettings
    store: StoreSettings
    history: HistorySettings
    ingress: IngressSettings
    admin: AdminSettings
    inspector: InspectorSettings
    tracing: TracingSettings
    trusted_proxies: tuple[Any, ...]
    audit: AuditSettings
    workers: WorkersSettings
    sources: Mapping[str, AnySource]
    source_names: tuple[str, ...]
    source_providers: Mapping[str, str]
    providers: Mapping[str, Provider[Any]]
    warnings: tuple[str, ...] = ()


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "broker": BrokerSettings,
    "spool": SpoolSettings,
    "store": StoreSettings,
    "history": HistorySettings,
    "ingress": IngressSettings,
    "admin": AdminSettings,
    "inspector": InspectorSettings,
    "tracing": TracingSettings,
    "audit": AuditSettings,
    "workers": WorkersSettings,
}


def load(path: Path, *, with_sources: bool) -> Settings:
    """Read and check a settings file. Raises SettingsError, whose text names the file and the key.

    A role that receives no callbacks loads no sources, so it does not read their secrets.
    """
    with _naming(path):
        return _load(path, with_sources=with_sources)


def _load(path: Path, *, with_sources: bool) -> Settings:
    document = _document(path)
    _check_keys("", document, {*SECTIONS, "sources"})
    outside = _outside_providers(document, path.parent)
    resolve = Resolver(path.parent)
    sections = {name: _section(name, document.get(name, {}), resolve) for name in SECTIONS}
    ingress = _with_paths(_as(IngressSettings, sections["ingress"]), path.parent)
    trusted_proxies = _networks("ingress.trusted_proxies", ingress.trusted_proxies)
    known, warnings = Catalogue(outside), list[str]()
    tables = document.get("sources", {})
    sources = _within(ingress, _sources(tables, known, resolve, warnings)) if with_sources else {}
    audit = _as(AuditSettings, sections["audit"])
    if audit.requests:
        warnings.append(_KEEPS_REQUESTS)
    admin = _faultless("admin", _as(AdminSettings, sections["admin"]))
    if admin.port and admin.port == ingress.port:
        raise SettingsError(
            f"admin.port: {admin.port} is also ingress.port; set another one, such as {AdminSettings().port}"
        )
    broker, store = _as(BrokerSettings, sections["broker"]), _as(StoreSettings, sections["store"])
    warnings += unmarked_variables({"broker.url": broker.urls, "store.url": (store.url,)})
    return Settings(
        path=path,
        broker=_faultless("broker", broker),
        spool=_as(SpoolSettings, sections["spool"]),
        store=_faultless("store", store),
        history=_as(HistorySettings, sections["history"]),
        ingress=ingress,
        admin=admin,
        inspector=_as(InspectorSettings, sections["inspector"]),
        tracing=_faultless("tracing", _as(TracingSettings, sections["tracing"])),
        trusted_proxies=trusted_proxies,
        audit=audit,
        workers=_as(WorkersSettings, sections["workers"]),
        sources=sources,
        source_names=tuple(_table("sources", document.get("sources", {}))),
        source_providers=_source_providers(tables, outside),
        providers=_by_name(outside),
        warnings=(*warnings, *warnings_of_all(sources, trusted_proxies, store.ttl_s)),
    )


def load_providers(path: Path) -> Mapping[str, Provider[Any]]:
    """The built-in providers, and those from outside that the settings file names, by name. Raises SettingsError."""
    with _naming(path):
        return _by_name(_outside_providers(_document(path), path.parent))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file in front of what is wrong in it."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def _document(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # TOML is UTF-8, whatever the locale
    except FileNotFoundError:
        where = f"in {path.parent.resolve()}" if path.parent.is_dir() else f"and no folder {path.parent}"
        raise SettingsError(
            f"there is no such file {where}; `hookline init` writes one, and --config names another"
        ) from None
    except PermissionError:
        raise SettingsError("this user may not read it: run as its owner, or chown it") from None
    except OSError as error:
        raise SettingsError(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(not_utf8(error.object)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(not_toml(str(error))) from None
    _check_values("", document)
    return document


def _check_values(key: str, value: Any) -> None:
    """Raise SettingsError for a text with a NUL, which no path, URL, header or secret can have, and for no number."""
    if isinstance(value, str) and "\0" in value:
        raise SettingsError(f"{key}: it has a NUL character (\\u0000); remove it")
    if isinstance(value, int | float) and not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        raise SettingsError(f"{key}: it is not a number of at most 63 bits; everything here is finite")
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            _check_values(f"{key}.{name}" if key else str(name), each)


def _outside_providers(document: Mapping[str, Any], folder: Path) -> dict[str, Provider[Any]]:
    """The providers that the sources name by a reference. Workers need them, and no other part of a source."""
    tables = _table("sources", document.get("sources", {}))
    references: dict[str, str] = {}
    for name, table in tables.items():
        provider = table.get("provider") if isinstance(table, dict) else None
        if is_reference(provider):
            references[f"sources.{name}.provider"] = provider
    return load_outside_providers(references, folder)


def _source_providers(tables: Mapping[str, Any], outside: Mapping[str, Provider[Any]]) -> Mapping[str, str]:
    """The names of providers by those of their sources; without those that a role with sources would not accept."""
    named = {name: str(table.get("provider")) for name, table in tables.items() if isinstance(table, dict)}
    named = {name: outside[each].name if each in outside else each for name, each in named.items()}
    known = _by_name(outside)
    return {name: each for name, each in named.items() if each in known}


def _by_name(outside: Mapping[str, Provider[Any]]) -> Mapping[str, Provider[Any]]:
    return Catalogue({provider.name: provider for provider in outside.values()})


def _faultless(name: str, section: O) -> O:
    if section.fault is not None:
        raise SettingsError(f"{name}.{section.fault}")
    return section


def _as(kind: type[S], section: msgspec.Struct) -> S:
    if not isinstance(section, kind):
        raise TypeError(kind)
    return section


def _with_paths(ingress: IngressSettings, folder: Path) -> IngressSettings:
    """With the paths of files relative to the settings file. Raises SettingsError."""
    if ingress.tls_key and not ingress.tls_certificate:
        raise SettingsError("ingress.tls_key: a key needs a tls_certificate")
    if ingress.tls_certificate and ingress.proxy_protocol:
        raise SettingsError("ingress.proxy_protocol: behind a proxy that speaks it, TLS ends at the proxy")
    if ingress.proxy_protocol and not ingress.trusted_proxies:
        raise SettingsError("ingress.proxy_protocol: trusted_proxies names no proxy that may speak it")
    paths = {name: getattr(ingress, name) for name in ("tls_certificate", "tls_key")}
    return msgspec.structs.replace(ingress, **{name: str(folder / path) for name, path in paths.items() if path})


def _section(name: str, table: Any, resolve: Resolver) -> msgspec.Struct:
    kind = SECTIONS[name]
    table = _table(name, table)
    _check_keys(name, table, set(_keys(kind)))
    return _convert(name, resolve(name, table), kind)


def _sources(
    tables: Any, providers: Mapping[str, Provider[Any]], resolve: Resolver, warnings: list[str]
) -> Mapping[str, AnySource]:
    tables = _table("sources", tables)
    if not tables:
        raise SettingsError("sources: there is none, so nothing could be received; `hookline init` shows examples")
    return {name: _source(name, table, providers, resolve, warnings) for name, table in tables.items()}


def _within(ingress: IngressSettings, sources: Mapping[str, AnySource]) -> Mapping[str, AnySource]:
    """The sources. Raises SettingsError if the ingress has no room for a body of one."""
    largest = ingress.max_bytes_in_flight // 4
    for name, source in sources.items():
        if source.max_body_bytes > largest:
            raise SettingsError(
                f"sources.{name}.max_body_bytes: more than {largest}, a quarter of ingress.max_bytes_in_flight"
            )
    return sources


def _source(
    name: str, table: Any, providers: Mapping[str, Provider[Any]], resolve: Resolver, warnings: list[str]
) -> AnySource:
    key = f"sources.{name}"
    if not topics.NAME.fullmatch(name):
        raise SettingsError(f"{key}: a source's name is 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")
    table = dict(_table(key, table))
    _check_misspelt_provider(key, table)
    provider = _provider(key, table.pop("provider", None), providers)
    common, own = set(_keys(SourceSettings)), set(_keys(provider.account))
    _check_keys(key, table, common | own)
    table = resolve(key, table)
    settings = _convert(key, {name: value for name, value in table.items() if name in common}, SourceSettings)
    source: AnySource = Source(
        name=name,
        provider=provider,
        account=_convert(key, {name: value for name, value in table.items() if name in own}, provider.account),
        keys=tuple(make_key(key, provider, secret) for secret in settings.secrets),
        tolerance_s=settings.tolerance_s,
        allow_from=_networks(f"{key}.allow_from", _with_published(key, settings.allow_from, provider)),
        max_body_bytes=settings.max_body_bytes,
        max_bodies_per_signature=settings.max_bodies_per_signature,
        public_url=_public_url(key, settings.public_url),
    )
    fault = provider.fault(source) or _needless_limit(source)
    if fault is not None:
        raise SettingsError(f"{key}.{fault}")
    warnings += warnings_of(key, provider, settings.secrets)
    return source


def _with_published(key: str, networks: tuple[str, ...], provider: Provider[Any]) -> tuple[str, ...]:
    """The networks, with those that the provider publishes in the place of the word `provider`."""
    if PUBLISHED not in networks:
        return networks
    if not provider.addresses:
        raise SettingsError(f'{key}.allow_from: {provider.title} publishes no list of addresses for "{PUBLISHED}"')
    return (*(network for network in networks if network != PUBLISHED), *provider.addresses)


def _public_url(key: str, url: str) -> str:
    """The URL. Raises SettingsError for one that no provider could have been given."""
    if url and (not is_web_address(url) or "#" in url):
        raise SettingsError(
            f"{key}.public_url: expected the URL as the provider calls it, such as https://example.com/…"
        )
    return url


def _needless_limit(source: AnySource) -> str | None:
    if source.max_bodies_per_signature and (source.provider.signatures is None or not source.keys):
        return (
            "max_bodies_per_signature: it is for signatures that do not cover the body, which this source has none of"
        )
    return None


def _check_misspelt_provider(key: str, table: Mapping[str, Any]) -> None:
    """Raise SettingsError for a key that was meant to be `provider`: without it no other key can be told."""
    near = nearest("provider", table)
    if "provider" not in table and near is not None:
        raise SettingsError(f"{key}.{near}: there is no such setting; did you mean provider?")


def _provider(key: str, name: Any, providers: Mapping[str, Provider[Any]]) -> Provider[Any]:
    if not isinstance(name, str) or name not in providers:
        fault = "is missing" if name is None else f"{name!r} is not known{_did_you_mean(str(name), catalogue())}"
        raise SettingsError(
            f'{key}.provider: {fault}; there are {", ".join(catalogue())}, and your own as "package.module:NAME"'
        )
    return providers[name]


def _networks(key: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(map(_network, texts))
    except ValueError as error:
        raise SettingsError(f"{key}: {error}") from None


def _network(text: str) -> Network:
    """Raises ValueError."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        expected = 'such as "203.0.113.7", or a network, such as "203.0.113.0/24"'
        raise ValueError(f"{text!r} is no address, {expected}; names of hosts are not looked up") from None
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"{text} is an address in a network; did you mean {network}?")
    return network


def _table(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{key}: expected a table, written [{key}]")
    return value


def _keys(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _check_keys(key: str, table: Mapping[str, Any], known: set[str]) -> None:
    for name in table:
        if name not in known:
            place = f"{key}.{name}" if key else name
            hint = _did_you_mean(name, known) or _right_place(key, name, table[name])
            raise SettingsError(f"{place}: there is no such setting{hint}")


def _right_place(key: str, name: str, value: Any) -> str:
    """Where a key belongs that stands in another section, or in none."""
    if not key and isinstance(value, dict) and "provider" in value:
        return f"; a source is written [sources.{name}]"
    sections = [section for section, kind in SECTIONS.items() if name in _keys(kind) and section != key]
    return f"; it belongs to {' or '.join(f'[{section}]' for section in sections)}" if sections else ""


def _did_you_mean(name: str, known: Any) -> str:
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def _convert(key: str, table: Mapping[str, Any], kind: type[S]) -> S:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(not_convertible(key, str(error), kind)) from None
