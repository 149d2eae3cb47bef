"""What a provider of your own is made from; the settings name it as `provider = "package.module:PROVIDER"`."""

from hookline.schemas.body_proof import BodyProof
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature, MalformedRequest, MissingSignature, StaleTimestamp, Unreadable
from hookline.schemas.form import FORM, form_body, form_fields, read_form, single_fields
from hookline.schemas.jwt import check_jwt, claim, time_claim
from hookline.schemas.payload import read, read_again, recheck, text_s, unix_s, unknown_facts, unknown_type
from hookline.schemas.provider import (
    Example,
    Key,
    NoSettings,
    Outgoing,
    Provider,
    Reply,
    Request,
    Sample,
    Signatures,
    Source,
    fault_without_signature,
)
from hookline.schemas.signing import check_base64, check_fresh, check_hex, check_shared_secret, decimal

__all__ = [
    "FORM",
    "BadSignature",
    "BodyProof",
    "Envelope",
    "Example",
    "Identity",
    "Key",
    "MalformedRequest",
    "MissingSignature",
    "NoSettings",
    "Outgoing",
    "Provider",
    "Reply",
    "Request",
    "Sample",
    "Signatures",
    "Source",
    "StaleTimestamp",
    "Unreadable",
    "check_base64",
    "check_fresh",
    "check_hex",
    "check_jwt",
    "check_shared_secret",
    "claim",
    "decimal",
    "fault_without_signature",
    "form_body",
    "form_fields",
    "read",
    "read_again",
    "read_form",
    "recheck",
    "single_fields",
    "text_s",
    "time_claim",
    "unix_s",
    "unknown_facts",
    "unknown_type",
]
