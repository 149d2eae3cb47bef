"""The sources of the settings file: who may call, with which secrets and from where."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from hookline.schemas import topics
from hookline.schemas.errors import SettingsError
from hookline.schemas.near_names import nearest
from hookline.schemas.networks import Network
from hookline.schemas.provider import AnySource, Provider, Source
from hookline.schemas.providers import catalogue
from hookline.settings_faults import is_web_address
from hookline.settings_secrets import make_key, warnings_of
from hookline.settings_sections import SourceSettings
from hookline.settings_tables import check_keys, convert, did_you_mean, keys, table_of
from hookline.settings_values import Resolver

PUBLISHED = "provider"
"""Stands in `allow_from` for the addresses that the provider publishes."""


def load_sources(
    tables: Any, providers: Mapping[str, Provider[Any]], resolve: Resolver, warnings: list[str]
) -> Mapping[str, AnySource]:
    tables = table_of("sources", tables)
    if not tables:
        raise SettingsError("sources: there is none, so nothing could be received; `hookline init` shows examples")
    return {name: _source(name, table, providers, resolve, warnings) for name, table in tables.items()}


def _source(
    name: str, table: Any, providers: Mapping[str, Provider[Any]], resolve: Resolver, warnings: list[str]
) -> AnySource:
    key = f"sources.{name}"
    if not topics.NAME.fullmatch(name):
        raise SettingsError(f"{key}: a source's name is 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")
    table = dict(table_of(key, table))
    _check_misspelt_provider(key, table)
    provider = _provider(key, table.pop("provider", None), providers)
    common, own = set(keys(SourceSettings)), set(keys(provider.account))
    check_keys(key, table, common | own)
    table = resolve(key, table)
    settings = convert(key, {name: value for name, value in table.items() if name in common}, SourceSettings)
    source: AnySource = Source(
        name=name,
        provider=provider,
        account=convert(key, _none_blank(key, table, own), provider.account),
        keys=tuple(make_key(key, provider, secret) for secret in settings.secrets),
        tolerance_s=settings.tolerance_s,
        allow_from=load_networks(f"{key}.allow_from", _with_published(key, settings.allow_from, provider)),
        max_body_bytes=settings.max_body_bytes,
        max_bodies_per_signature=settings.max_bodies_per_signature,
        public_url=_public_url(key, settings.public_url),
    )
    fault = provider.fault(source) or _needless_limit(source)
    if fault is not None:
        raise SettingsError(f"{key}.{fault}")
    warnings += warnings_of(key, provider, settings.secrets)
    return source


def _none_blank(key: str, table: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """The settings of these names. Raises SettingsError for a blank text, such as that of an empty variable.

    No account has a blank name: every callback would be refused, or the check that the setting is for left out.
    """
    settings = {name: value for name, value in table.items() if name in names}
    for name, value in settings.items():
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and not text.strip() for text in texts):
            raise SettingsError(f"{key}.{name}: it is empty")
    return settings


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
        fault = "is missing" if name is None else f"{name!r} is not known{did_you_mean(str(name), catalogue())}"
        raise SettingsError(
            f'{key}.provider: {fault}; there are {", ".join(catalogue())}, and your own as "package.module:NAME"'
        )
    return providers[name]


def load_networks(key: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
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
