"""The settings file: `hookline.toml`, checked as a whole before anything starts."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hookline.admin.settings import AdminSettings, InspectorSettings, TracingSettings
from hookline.ingress.settings import AuditSettings, IngressSettings
from hookline.outside_providers import is_reference, load_outside_providers
from hookline.schemas.errors import SettingsError
from hookline.schemas.provider import AnySource, Provider
from hookline.schemas.providers import Catalogue
from hookline.settings_faults import not_toml, not_utf8, own_host_fault, path_fault, unmarked_variables
from hookline.settings_secrets import warnings_of_all
from hookline.settings_sections import (
    SECTIONS,
    BrokerSettings,
    HistorySettings,
    SpoolSettings,
    StoreSettings,
    UnroutedSettings,
    WorkersSettings,
)
from hookline.settings_sources import load_networks, load_sources
from hookline.settings_tables import check_keys, convert, keys, table_of
from hookline.settings_values import Resolver

S = TypeVar("S", bound=msgspec.Struct)
O = TypeVar("O", AdminSettings, TracingSettings, BrokerSettings, StoreSettings)  # noqa: E741  of an operator

DEFAULT_PATH = "hookline.toml"
_MAX_NUMBER = 2**63 - 1
_KEEPS_REQUESTS = (
    "audit.requests: refused requests are kept with their signatures and bodies; switch it off once the fault is found"
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A whole settings file, with its path.

    `sources` is empty for a role that needs none, and `source_names` has all. `source_providers` has the name of the
    provider of each. `providers` holds the built-in providers by name, and those from outside that the sources name.
    `warnings` are sentences about what is accepted and may still be a mistake.
    """

    path: Path
    broker: BrokerSettings
    spool: SpoolSettings
    store: StoreSettings
    history: HistorySettings
    unrouted: UnroutedSettings
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


def load(path: Path, *, with_sources: bool) -> Settings:
    """Read and check a settings file. Raises SettingsError, whose text names the file and the key.

    A role that receives no callbacks loads no sources, so it does not read their secrets.
    """
    with _naming(path):
        return _load(path, with_sources=with_sources)


def _load(path: Path, *, with_sources: bool) -> Settings:
    document = _document(path)
    check_keys("", document, {*SECTIONS, "sources"})
    outside = _outside_providers(document, path.parent)
    resolve = Resolver(path.parent)
    sections = {name: _section(name, document.get(name, {}), resolve) for name in SECTIONS}
    ingress = _as(IngressSettings, sections["ingress"])
    spool, audit = _as(SpoolSettings, sections["spool"]), _as(AuditSettings, sections["audit"])
    _check_paths({"spool.path": spool.path, "audit.path": audit.path})
    ingress = _with_paths(ingress, path.parent)
    if fault := own_host_fault(ingress.host):
        raise SettingsError(f"ingress.host: {fault}")
    trusted_proxies = load_networks("ingress.trusted_proxies", ingress.trusted_proxies)
    known, warnings = Catalogue(outside), list[str]()
    tables = document.get("sources", {})
    sources = _within(ingress, load_sources(tables, known, resolve, warnings)) if with_sources else {}
    if audit.requests:
        warnings.append(_KEEPS_REQUESTS)
    admin = _faultless("admin", _as(AdminSettings, sections["admin"]))
    if document.get("admin", {}).get("token") and not admin.token:  # of an empty variable or file
        raise SettingsError("admin.token: it is empty; remove the key if no token is needed")
    if admin.port and admin.port == ingress.port:
        other = next(port for port in (AdminSettings().port, AdminSettings().port + 1) if port != ingress.port)
        raise SettingsError(f"admin.port: {admin.port} is also ingress.port; set another one, such as {other}")
    broker, store = _as(BrokerSettings, sections["broker"]), _as(StoreSettings, sections["store"])
    warnings += unmarked_variables({"broker.url": broker.urls, "store.url": (store.url,)})
    return Settings(
        path=path,
        broker=_faultless("broker", broker),
        spool=spool,
        store=_faultless("store", store),
        history=_as(HistorySettings, sections["history"]),
        unrouted=_as(UnroutedSettings, sections["unrouted"]),
        ingress=ingress,
        admin=admin,
        inspector=_as(InspectorSettings, sections["inspector"]),
        tracing=_faultless("tracing", _as(TracingSettings, sections["tracing"])),
        trusted_proxies=trusted_proxies,
        audit=audit,
        workers=_as(WorkersSettings, sections["workers"]),
        sources=sources,
        source_names=tuple(table_of("sources", document.get("sources", {}))),
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
    except RecursionError:
        raise SettingsError(f"{path}: its values are nested too deeply") from None


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
    except ValueError:  # of Python, which converts no text of thousands of digits
        raise SettingsError("it has a number of thousands of digits; everything here is finite") from None
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
    tables = table_of("sources", document.get("sources", {}))
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
    _check_paths({f"ingress.{name}": each for name, each in paths.items()})
    return msgspec.structs.replace(ingress, **{name: str(folder / path) for name, path in paths.items() if path})


def _check_paths(paths: Mapping[str, str]) -> None:
    """Raise SettingsError for a path by its key. An empty one is a choice."""
    for key, path in paths.items():
        if fault := path_fault(path):
            raise SettingsError(f"{key}: {fault}")


def _section(name: str, table: Any, resolve: Resolver) -> msgspec.Struct:
    kind = SECTIONS[name]
    table = table_of(name, table)
    check_keys(name, table, set(keys(kind)))
    return convert(name, resolve(name, table), kind)


def _within(ingress: IngressSettings, sources: Mapping[str, AnySource]) -> Mapping[str, AnySource]:
    """The sources. Raises SettingsError if the ingress has no room for a body of one."""
    largest = ingress.max_bytes_in_flight // 4
    for name, source in sources.items():
        if source.max_body_bytes > largest:
            raise SettingsError(
                f"sources.{name}.max_body_bytes: more than {largest}, a quarter of ingress.max_bytes_in_flight"
            )
    return sources
