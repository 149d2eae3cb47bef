"""Writes what programs in other languages need, from the code: `python -m docs.descriptions`, `--check` to compare.

`docs/schema/events.schema.json` is the JSON Schema (2020-12) of the canonical events, `docs/schema/asyncapi.json` the
AsyncAPI 3.0 description of the messages on RabbitMQ.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hookline.schemas import topics
from hookline.schemas.envelope import (
    ID_HEADER,
    RECEIVED_AT_HEADER,
    SOURCE_HEADER,
    SPEC_VERSION,
    SPEC_VERSION_HEADER,
    SUBJECT_HEADER,
    TIME_HEADER,
    TRACE_HEADER,
    TYPE_HEADER,
    UNREADABLE,
)
from hookline.schemas.events import EVENT_TYPES, Event, Unknown, event_topic
from hookline.schemas.providers import catalogue

FOLDER = Path(__file__).resolve().parent / "schema"
_TEMPLATE = "#/$defs/{name}"
_TIME = {"type": "string", "format": "date-time"}


def events_schema() -> dict[str, Any]:
    """Any canonical event, told apart by `type`, as `msgspec.json.encode` writes it."""
    (schema,), definitions = msgspec.json.schema_components([Event], ref_template=_TEMPLATE)
    for definition in definitions.values():
        definition["properties"] |= dict.fromkeys(("occurred_at", "received_at"), _TIME)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://hookline.invalid/schema/events.schema.json",
        "title": "Canonical events of Hookline",
        **schema,
        "$defs": definitions,
    }


def asyncapi() -> dict[str, Any]:
    """The messages of the topic exchange: CloudEvents in binary mode, whose payload is what the provider sent."""
    kinds = [*EVENT_TYPES, UNREADABLE]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Hookline on RabbitMQ",
            "version": "1.0.0",
            "description": "Verified callbacks of real-time audio/video clouds. Bind a queue of your own to the topic "
            f"exchange `{topics.EXCHANGE}`. In a binding, `*` is one word and `#` any number of words.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "rabbitmq": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "The server of `broker.url` in hookline.toml.",
            }
        },
        "channels": {_identifier(kind): _channel(kind) for kind in kinds},
        "operations": {
            f"receive_{_identifier(kind)}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{_identifier(kind)}"},
                "bindings": {"amqp": {"ack": True, "bindingVersion": "0.3.0"}},
            }
            for kind in kinds
        },
        "components": {
            "messages": {_identifier(kind): _message(kind) for kind in kinds},
            "messageTraits": {"cloudEvent": {"headers": _headers()}},
            "parameters": _parameters(),
        },
    }


def _channel(kind: str) -> dict[str, Any]:
    is_unknown = kind == event_topic(Unknown)
    address = f"{{provider}}.{{source}}.{kind}{'.{type}' if is_unknown else ''}.{{partition}}"
    names = ["provider", "source", *(["type"] if is_unknown else []), "partition"]
    return {
        "address": address,
        "messages": {_identifier(kind): {"$ref": f"#/components/messages/{_identifier(kind)}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": topics.EXCHANGE, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _message(kind: str) -> dict[str, Any]:
    event = EVENT_TYPES.get(kind)
    summary = (event.__doc__ or "").partition("\n")[0] if event else "A genuine callback that cannot be read."
    sent_by = {
        provider.name: [theirs for theirs, ours in provider.types.items() if ours == kind]
        for provider in catalogue().values()
    }
    return {
        "name": kind,
        "title": event.__name__ if event else "Unreadable",
        "summary": summary,
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {"description": "The exact bytes that the provider sent; its documentation describes them."},
        "x-sent-by": {name: types for name, types in sent_by.items() if types},
    }


def _headers() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": [ID_HEADER, SOURCE_HEADER, TYPE_HEADER, TIME_HEADER, SPEC_VERSION_HEADER, RECEIVED_AT_HEADER],
        "properties": {
            ID_HEADER: {**text, "description": "The same for every delivery of one event: an idempotency key."},
            SOURCE_HEADER: {**text, "pattern": "^/hookline/[a-z0-9_-]+/[a-z0-9_-]+$"},
            TYPE_HEADER: {**text, "description": "The type of the event, such as room.created."},
            SUBJECT_HEADER: {**text, "description": "The room or the recording task; absent where there is none."},
            TIME_HEADER: {**_TIME, "description": "The provider's time of the event."},
            SPEC_VERSION_HEADER: {"const": SPEC_VERSION},
            RECEIVED_AT_HEADER: {**_TIME, "description": "When the callback was received."},
            TRACE_HEADER: {**text, "description": "The span of the request (W3C Trace Context), if it is traced."},
        },
    }


def _parameters() -> dict[str, Any]:
    return {
        "provider": {"description": "The provider.", "enum": list(catalogue()), "default": "krtc"},
        "source": {"description": "The name of the source in hookline.toml."},
        "type": {"description": "The provider's own type, with `-` for what is not a-z, 0-9, _ or -."},
        "partition": {
            "description": "The partition of the subject: its crc32 modulo the number of partitions.",
            "enum": list(topics.PARTITION_WORDS),
        },
    }


def _identifier(kind: str) -> str:
    return kind.replace(".", "_")


FILES: Mapping[str, Callable[[], dict[str, Any]]] = {"events.schema.json": events_schema, "asyncapi.json": asyncapi}


def text_of(describe: Callable[[], dict[str, Any]]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(describe(), order="deterministic"), indent=2) + b"\n"


def main() -> int:
    stale = [name for name, describe in FILES.items() if not _is_current(FOLDER / name, text_of(describe))]
    if "--check" not in sys.argv[1:]:
        FOLDER.mkdir(exist_ok=True)
        for name in stale:
            (FOLDER / name).write_bytes(text_of(FILES[name]))
        return 0
    if stale:
        sys.stderr.write(f"docs/schema: {', '.join(stale)} differs from the code; `make tables` writes it\n")
    return bool(stale)


def _is_current(path: Path, text: bytes) -> bool:
    return path.exists() and path.read_bytes() == text


if __name__ == "__main__":
    sys.exit(main())
