"""Standard Webhooks: any sender that signs by the specification of that name.

Sources: the specification and its Python library (1.1). Senders on Svix use `svix-` for `webhook-` in the names of the
headers; both are read (inferred). Signatures of version `v1a` (ed25519, public keys) are skipped.

Every callback becomes `unknown` with its own type: what a sender's types mean is not known here. They have no subject,
so they have no order.
"""

import hmac
import re
from base64 import b64encode
from binascii import Error, a2b_base64
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity, moment
from hookline.schemas.errors import BadSignature
from hookline.schemas.events import Event
from hookline.schemas.payload import (
    Text,
    read,
    read_again,
    recheck,
    text_s,
    unknown_type,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.signing import check_base64, check_fresh, decimal, fits_no_secret
from hookline.schemas.unknown import exactly, normalise_unknown, unknown_facts

TYPES = {"room.started": "unknown", "participant.joined": "unknown", "participant.left": "unknown"}
"""Those of the samples. Any other type becomes the same."""
UNTYPED = "untyped"
PREFIX = "whsec_"
VERSION = "v1,"
MAX_SIGNATURES = 32
TIME_DIGITS = 10
# In an id, this is the joint between time and body of another request: its body, cut behind a like one, would pass for
# a body of its own. The specification asks senders for ids without full stops, unless no user chooses them.
_JOINT = re.compile(rf"\.[0-9]{{{TIME_DIGITS}}}\.")


class Message(msgspec.Struct, frozen=True):
    """The recommended form. `timestamp` is when the event occurred; `data` is what the sender says of it."""

    type: Text = UNTYPED
    timestamp: Text | None = None


_message = msgspec.json.Decoder(Message)


def key(secret: str) -> Key:
    """The bytes of a secret in base64, with or without `whsec_`. Raises ValueError for any other text."""
    encoded = secret.strip().removeprefix(PREFIX)
    try:
        return Key(a2b_base64(encoded + "=" * (-len(encoded) % 4), strict_mode=True))
    except (Error, ValueError):
        raise ValueError("the secret is not base64") from None


def verify(request: Request, source: Source[Any], now_s: float) -> None:
    """HMAC-SHA256 of id, time and body, in base64. One good signature of several is enough, so that keys can change."""
    message_id, time, signatures = (_header(request, name) for name in ("id", "timestamp", "signature"))
    sent_s = decimal(time, TIME_DIGITS)
    if "." in message_id and _JOINT.search(message_id):
        raise BadSignature("the id of the message has a time stamp in it")
    digests = [_digest(key, message_id, time, request.body) for key in source.keys]
    if not any([_fits(signature, digests) for signature in _listed(signatures)]):  # noqa: C419  all, always
        raise fits_no_secret()
    check_fresh(sent_s, now_s, source.tolerance_s)


def _header(request: Request, name: str) -> str:
    """A header under the name of the specification; under that of Svix, where there is no other."""
    is_svix = not request.headers.getall(f"webhook-{name}", ()) and request.headers.getall(f"svix-{name}", ())
    return request.header(f"svix-{name}" if is_svix else f"webhook-{name}")


def _listed(signatures: str) -> list[str]:
    """The signatures of a list, without their version. Others than those of version 1 are left out."""
    entries = signatures.split(" ")
    if len(entries) > MAX_SIGNATURES or not all(entries):
        raise BadSignature("the signatures are not a list with single blanks")
    return [entry.removeprefix(VERSION) for entry in entries if entry.startswith(VERSION)]


def _fits(signature: str, digests: list[bytes]) -> bool:
    try:
        check_base64(signature, digests)
    except BadSignature:
        return False
    return True


def _digest(key: Key, message_id: str, time: str, body: bytes) -> bytes:
    return key.hmac(
        b"%b.%b.%b" % (message_id.encode("utf-8", "surrogateescape"), time.encode("utf-8", "surrogateescape"), body),
        "sha256",
    )


def sign(body: bytes, source: Source[Any], now_s: float) -> Outgoing:
    """The id is made of the body: the same callback has the same one."""
    message_id = f"msg_{hmac.digest(b'id', body, 'sha256').hex()[:24]}"
    time = f"{int(now_s):0{TIME_DIGITS}}"
    signature = VERSION + b64encode(_digest(source.keys[0], message_id, time, body)).decode()
    return Outgoing(body, {"webhook-id": message_id, "webhook-timestamp": time, "webhook-signature": signature})


def identify(request: Request) -> Identity:
    """The fact is the id of the header, which a re-send keeps.

    Without a header, in a worker or a replay of a body, it is the content: a sender that renews `timestamp` for a
    re-send makes another event of it then.
    """
    message = read(_message, request.body)
    message_id = request.find("webhook-id") or request.find("svix-id")
    if message_id:  # bytes beyond UTF-8 come as surrogates, which nothing can store
        message_id = message_id.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    facts = (message_id,) if message_id else unknown_facts(message.type, read_again(exactly, request.body))
    return Identity(unknown_type(message.type), facts, "", text_s(message.timestamp) or _sent_s(request))


def _sent_s(request: Request) -> float | None:
    """The time of the header."""
    found = request.find("webhook-timestamp") or request.find("svix-timestamp")
    try:
        return decimal(found, TIME_DIGITS) if found else None
    except BadSignature:
        return None


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    return normalise_unknown(envelope, read_again(_message, envelope.body).type)


def _sample(kind: str, **data: str) -> Sample:
    def body(n: int, at_s: float) -> Any:
        at = moment(at_s)
        time = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}Z"
        return {"type": kind, "timestamp": time, "data": {"room": f"demo-{n}", **data}}

    return Sample(kind, body)


SAMPLES = (
    _sample("room.started"),
    _sample("participant.joined", user="student"),
    _sample("participant.left", user="student"),
)

PROVIDER = Provider(
    name="standard-webhooks",
    title="Standard Webhooks",
    example=Example("standard-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the id, the time and the whole body (HMAC-SHA256)",
    leaves_open="a copy within the tolerance, which is the same event",
    key=key,
    sign=sign,
    identify=identify,
    normalise=normalise,
    resends_for_s=28 * 3600,  # the specification's example: ten attempts in 27 hours and 35 minutes
    shown=frozenset({"webhook-id", "webhook-timestamp", "svix-id", "svix-timestamp"}),
)
