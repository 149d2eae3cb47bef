"""The descriptions for other languages: valid by the official tools, current, and true of every event and message."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from docs import descriptions
from hookline.schemas.envelope import UNREADABLE, to_headers
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent, event_topic
from hookline.workers.normaliser import normaliser
from tests.docs.node_packages import install
from tests.vector_cases import all_vectors

PURPOSE = "docs/schema is not validated by the official tools"
VALIDATE = """
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const read = (name) => JSON.parse(readFileSync(name, "utf8"));
const problems = [];
const { document, diagnostics } = await new Parser().parse(readFileSync("asyncapi.json", "utf8"));
problems.push(...diagnostics.filter((each) => each.severity <= 1).map((each) => `asyncapi: ${each.message}`));
if (document === undefined) problems.push("asyncapi: not parsed");

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default ? addFormats.default(ajv) : addFormats(ajv);
const isEvent = ajv.compile(read("events.schema.json"));
for (const event of read("events.json"))
  if (!isEvent(event)) problems.push(`event ${JSON.stringify(event)}: ${ajv.errorsText(isEvent.errors)}`);
const hasHeaders = ajv.compile(read("asyncapi.json").components.messageTraits.cloudEvent.headers);
for (const headers of read("headers.json"))
  if (!hasHeaders(headers)) problems.push(`headers ${JSON.stringify(headers)}: ${ajv.errorsText(hasHeaders.errors)}`);
for (const wrong of read("wrong.json"))
  if (isEvent(wrong)) problems.push(`taken, though wrong: ${JSON.stringify(wrong)}`);
console.log(JSON.stringify(problems));
"""


def events_and_headers() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every event of the vectors as JSON, and the headers of every message."""
    events: list[dict[str, Any]] = []
    headers: list[dict[str, Any]] = []
    for vector in all_vectors():
        if not vector.case.expected.challenge:
            envelope = vector.seal()
            headers.append(dict(to_headers(envelope)))
            if envelope.event_type != UNREADABLE:
                found = normaliser({vector.provider.name: vector.provider})(envelope)
                events += [msgspec.json.decode(msgspec.json.encode(event)) for event in found]
    seen = {event["type"] for event in events}
    events += [made_up(kind) for topic, kind in EVENT_TYPES.items() if topic not in seen]
    return events, headers


def made_up(kind: type[CanonicalEvent]) -> dict[str, Any]:
    """An event that no built-in provider sends yet, with its required fields only."""
    at = "2026-01-01T00:00:00Z"
    choices = {field.name: getattr(field.type, "__args__", ("x",))[0] for field in msgspec.structs.fields(kind)}
    given = {field.name: choices[field.name] for field in msgspec.structs.fields(kind) if field.required}
    event = {**given, "type": event_topic(kind), "occurred_at": at, "received_at": at}
    return dict(msgspec.json.decode(msgspec.json.encode(msgspec.convert(event, kind))))


@pytest.mark.timeout(300)
def test_the_descriptions_are_valid_and_true(tmp_path: Path) -> None:
    node = install(tmp_path, PURPOSE, "@asyncapi/parser@3", "ajv@8", "ajv-formats@3")
    for name, describe in descriptions.FILES.items():
        (node / name).write_bytes(descriptions.text_of(describe))
    events, headers = events_and_headers()
    assert {event["type"] for event in events} == set(EVENT_TYPES)
    wrong = [
        {**events[0], "occurred_at": "yesterday"},
        {**events[0], "type": "room.exploded"},
        {"type": "room.created"},
    ]
    for name, value in (("events", events), ("headers", headers), ("wrong", wrong)):
        (node / f"{name}.json").write_bytes(msgspec.json.encode(value))
    (node / "validate.mjs").write_text(VALIDATE)
    done = subprocess.run(["node", "validate.mjs"], cwd=node, capture_output=True, text=True, timeout=120, check=False)  # noqa: S607
    assert done.stderr == ""
    assert msgspec.json.decode(done.stdout) == []


def test_the_files_are_current() -> None:
    for name, describe in descriptions.FILES.items():
        assert (descriptions.FOLDER / name).read_bytes() == descriptions.text_of(describe), f"run `make tables`: {name}"


def test_every_type_has_a_channel_with_the_routing_key_of_its_messages() -> None:
    channels = descriptions.asyncapi()["channels"]
    assert {channel["address"].split(".", 2)[2] for channel in channels.values()} == {
        *(f"{kind}.{{partition}}" for kind in EVENT_TYPES if kind != "unknown"),
        "unknown.{type}.{partition}",
        "unreadable.{partition}",
    }
