"""`hookline topics`: the canonical events, and which providers send them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.cli import tables
from hookline.cli.options import config_option, is_named
from hookline.cli.output import say
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent
from hookline.schemas.provider import Provider, topics_of
from hookline.schemas.providers import catalogue
from hookline.settings import load_providers

COLUMNS = (("topic", "event"), ("fields",), ("sent by",))
_SHARED_FIELDS = tuple(field.name for field in msgspec.structs.fields(CanonicalEvent))


@click.command(
    epilog="""\b
    Examples:
      hookline topics
      hookline topics --json
    """
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@config_option
def topics(config: Path, *, as_json: bool) -> None:
    """List the canonical events.

    Each has its fields, and the providers that send it with their own types for it. These are the built-in providers,
    and your own that the settings file names.
    """
    found = events(load_providers(config) if config.exists() or is_named(config) else catalogue())
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    rows = [(each["topic"], each["event"], ", ".join(each["fields"]), _text(each)) for each in found]
    tables.show(COLUMNS, rows)
    click.echo()
    say(f"All events also have the fields {', '.join(_SHARED_FIELDS)}.")
    click.echo("A provider's type that Hookline does not know has the topic unknown.<type>.")


def events(providers: Mapping[str, Provider[Any]]) -> list[dict[str, Any]]:
    """The canonical events: topic, fields, and which providers send them under which of their own types."""
    return [
        {
            "topic": topic,
            "event": event.__name__,
            "fields": [field.name for field in msgspec.structs.fields(event) if field.name not in _SHARED_FIELDS],
            "sent_by": {} if topic == "unknown" else _senders(topic, providers),
        }
        for topic, event in EVENT_TYPES.items()
    ]


def _senders(topic: str, providers: Mapping[str, Provider[Any]]) -> dict[str, list[str]]:
    sent = {
        provider.name: [theirs for theirs in provider.types if topic in topics_of(provider, theirs)]
        for provider in providers.values()
    }
    return {name: types for name, types in sent.items() if types}


def _text(event: Mapping[str, Any]) -> str:
    senders = "; ".join(f"{name} {', '.join(types)}" for name, types in event["sent_by"].items())
    return senders or ("any provider" if event["topic"] == "unknown" else "none yet")
