"""`hookline topics`: the canonical events, and who sends them."""

from typing import Any

import click
import msgspec

from hookline.schemas.events import EVENT_TYPES, CanonicalEvent
from hookline.schemas.providers import catalogue

_SHARED_FIELDS = frozenset(field.name for field in msgspec.structs.fields(CanonicalEvent))


@click.command(
    epilog="""\b
    Examples:
      hookline topics
      hookline topics --json
    """
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def topics(*, as_json: bool) -> None:
    """The canonical events, their fields, and which providers send them."""
    click.echo(msgspec.json.encode(rows()).decode() if as_json else _text())


def rows() -> list[dict[str, Any]]:
    """The canonical events: topic, fields, and which providers send them under which of their own types."""
    return [
        {
            "topic": topic,
            "event": event.__name__,
            "fields": [field.name for field in msgspec.structs.fields(event) if field.name not in _SHARED_FIELDS],
            "sent_by": {} if topic == "unknown" else _senders(topic),
        }
        for topic, event in EVENT_TYPES.items()
    ]


def _senders(topic: str) -> dict[str, list[str]]:
    sent = {
        provider.name: [theirs for theirs, ours in provider.types.items() if ours == topic]
        for provider in catalogue().values()
    }
    return {name: types for name, types in sent.items() if types}


def _text() -> str:
    lines = []
    for row in rows():
        senders = "; ".join(f"{name} {', '.join(types)}" for name, types in row["sent_by"].items())
        lines += [
            f"{row['topic']}  ({row['event']})",
            f"    fields   {', '.join(row['fields'])}",
            f"    sent by  {senders or 'any provider: what we do not know yet, under unknown.<their type>'}",
        ]
    shared = ", ".join(field.name for field in msgspec.structs.fields(CanonicalEvent))
    return "\n".join([*lines, "", f"All events also carry {shared}."])
