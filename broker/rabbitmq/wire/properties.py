"""Properties of messages that are published by aiormq's public call, as it takes them."""

from pamqp.commands import Basic

from hookline.broker.rabbitmq.wire.encode import Message

_PERSISTENT = 2


def persistent(content_type: str | None = None) -> Basic.Properties:
    """Of a message that survives a restart of the server."""
    return Basic.Properties(content_type=content_type, delivery_mode=_PERSISTENT)


def properties_of(message: Message, message_id: str) -> Basic.Properties:
    """The same that `encode.publish_frames` writes."""
    return Basic.Properties(
        content_type=message.content_type,
        headers=dict(message.headers),
        delivery_mode=_PERSISTENT,
        message_id=message_id,
        expiration=None if message.expiration_ms is None else str(message.expiration_ms),
    )
