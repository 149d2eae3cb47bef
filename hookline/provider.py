"""What a provider of your own is made from; the settings name it as `provider = "package.module:PROVIDER"`."""

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature, MalformedRequest, MissingSignature, StaleTimestamp, Unreadable
from hookline.schemas.payload import read, read_again, recheck, unknown_facts, unknown_type
from hookline.schemas.provider import (
    Example,
    Key,
    NoSettings,
    Outgoing,
    Provider,
    QueryFacts,
    Reply,
    Request,
    Sample,
    Source,
)
from hookline.schemas.signing import check_base64, check_fresh, check_hex, decimal

__all__ = [
    "BadSignature",
    "Envelope",
    "Example",
    "Identity",
    "Key",
    "MalformedRequest",
    "MissingSignature",
    "NoSettings",
    "Outgoing",
    "Provider",
    "QueryFacts",
    "Reply",
    "Request",
    "Sample",
    "Source",
    "StaleTimestamp",
    "Unreadable",
    "check_base64",
    "check_fresh",
    "check_hex",
    "decimal",
    "read",
    "read_again",
    "recheck",
    "unknown_facts",
    "unknown_type",
]
