"""The official SDKs read every message on RabbitMQ as a CloudEvent, with the envelope's facts: those of all vectors."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp_event

from hookline.schemas import topics
from hookline.schemas.envelope import Envelope, origin
from tests.contract.installations import fresh_rabbitmq, raw_channel
from tests.docs.node_packages import install
from tests.vector_cases import all_vectors

SCRIPT = Path(__file__).with_name("cloud_events.mjs")
QUEUE = "of-another-program"
END_S = 60


@dataclass(frozen=True, slots=True)
class Message:
    """What any client of AMQP gets of one envelope."""

    envelope: Envelope
    headers: dict[str, Any]
    content_type: str | None
    body: bytes


@pytest.fixture(scope="module")
def messages(request: pytest.FixtureRequest) -> Sequence[Message]:
    """The messages of all vectors that are events."""
    envelopes = [vector.seal() for vector in all_vectors() if vector.case.expected.event_type]
    return asyncio.run(passed_on(request.config, envelopes))


async def passed_on(config: pytest.Config, envelopes: Sequence[Envelope]) -> Sequence[Message]:
    installation = await fresh_rabbitmq(config)
    async with installation.opened() as broker, raw_channel(installation.address) as channel:
        await channel.queue_declare(QUEUE, exclusive=True)
        await channel.queue_bind(QUEUE, topics.EXCHANGE, "#")
        await asyncio.gather(*(broker.publisher.publish(envelope) for envelope in envelopes))
        got = [await channel.basic_get(QUEUE, no_ack=True) for _ in envelopes]
    return [
        Message(envelope, each.header.properties.headers or {}, each.header.properties.content_type, each.body)
        for envelope, each in zip(envelopes, got, strict=True)
    ]


def test_the_sdk_for_python_reads_every_message(messages: Sequence[Message]) -> None:
    for message in messages:
        event = from_amqp_event(AMQPMessage({"content-type": message.content_type}, message.headers, message.body))
        envelope = message.envelope
        assert event.get_attributes() == {
            "id": envelope.id,
            "source": origin(envelope.provider, envelope.source),
            "type": envelope.event_type,
            **({"subject": envelope.subject} if envelope.subject else {}),
            "time": envelope.occurred_at,
            "specversion": "1.0",
            "datacontenttype": envelope.content_type,
        }
        assert event.get_data() in (decoded(envelope.body), envelope.body.decode())


def decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:  # a form
        return None


def test_the_sdk_for_javascript_reads_every_message(messages: Sequence[Message], tmp_path: Path) -> None:
    install(tmp_path, "messages are not read by the SDK for JavaScript", "cloudevents@10")
    shutil.copy(SCRIPT, tmp_path)
    lines = [
        json.dumps({"headers": each.headers, "contentType": each.content_type, "body": each.body.decode()})
        for each in messages
    ]
    done = subprocess.run(  # noqa: S603  ours
        ["node", SCRIPT.name],  # noqa: S607  of PATH
        cwd=tmp_path,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [
            each.envelope.id,
            origin(each.envelope.provider, each.envelope.source),
            each.envelope.event_type,
            each.envelope.subject,
            each.envelope.content_type,
            each.envelope.body.decode(),
        ]
        for each in messages
    ]
