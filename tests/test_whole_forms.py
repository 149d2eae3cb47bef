"""Forms with all documented fields: what was decoded to one proves the body, which is not decoded again."""

import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest

from hookline.schemas import payload
from hookline.schemas.errors import Unreadable
from hookline.schemas.payload import Whole
from hookline.schemas.provider import Provider, Request, Sample
from hookline.schemas.providers import alibaba_live, cloudroom, dingrtc, gme, krtc, netease, roomkit, trtc, volcengine
from hookline.schemas.providers.netease import callbacks, classroom, copies, meeting, neroom, nertc
from hookline.schemas.providers.roomkit import calls, live
from tests.vector_cases import example_source

KEPT_AS_UNKNOWN = ("303", "308", "312")
"""Types of TRTC that say nothing of an event, unless something has failed."""
DOCUMENTED: list[tuple[Provider[Any], Sequence[Sample]]] = [
    (alibaba_live.PROVIDER, alibaba_live.SAMPLES),
    (cloudroom.PROVIDER, cloudroom.SAMPLES),
    (dingrtc.PROVIDER, dingrtc.SAMPLES),
    (gme.PROVIDER, gme.SAMPLES),
    (krtc.PROVIDER, krtc.SAMPLES),
    (netease.PROVIDER, callbacks.SAMPLES),
    (netease.PROVIDER, copies.SAMPLES),
    (netease.PROVIDER, nertc.SAMPLES),
    (netease.PROVIDER, neroom.SAMPLES),
    (netease.PROVIDER, meeting.SAMPLES),
    (netease.PROVIDER, classroom.SAMPLES),
    (roomkit.PROVIDER, [sample for sample in roomkit.SAMPLES if sample.type in roomkit.ROOM_TYPES]),
    (roomkit.PROVIDER, live.SAMPLES),
    (roomkit.PROVIDER, calls.SAMPLES),
    (volcengine.PROVIDER, volcengine.SAMPLES),
    (trtc.PROVIDER, [sample for sample in trtc.SAMPLES if sample.type not in KEPT_AS_UNKNOWN]),
]
every_provider = pytest.mark.parametrize(
    ("provider", "samples"), DOCUMENTED, ids=[f"{provider.name} {samples[0].type}" for provider, samples in DOCUMENTED]
)


def bodies(provider: Provider[Any], samples: Sequence[Sample]) -> list[bytes]:
    """As they are sent: a signature may be in the body."""
    source, at_s = example_source(provider), 1_700_000_000.0
    return [provider.sign(msgspec.json.encode(sample.body(1, at_s)), source, at_s).body for sample in samples]


def forms(of: type[Whole] = Whole) -> list[type[Whole]]:
    return [form for direct in of.__subclasses__() for form in (direct, *forms(direct))]


def parts_of(kind: Any) -> list[type]:
    """The classes that a type consists of."""
    inside = [part for argument in get_args(kind) for part in parts_of(argument)]
    return [kind, *inside] if isinstance(kind, type) and not get_args(kind) else inside


@pytest.mark.parametrize("form", forms(), ids=lambda form: f"{form.__module__.rpartition('.')[2]}.{form.__name__}")
def test_a_whole_form_writes_no_field_that_was_not_sent_and_has_no_undecoded_part(form: type[Whole]) -> None:
    fields = msgspec.structs.fields(form)
    required = {field.name: field.encode_name for field in fields if field.required}
    written = msgspec.json.decode(msgspec.json.encode(form(**dict.fromkeys(required, 0))))
    assert set(written) - {form.__struct_config__.tag_field} == set(required.values())
    parts = [part for field in fields for part in parts_of(field.type)]
    assert msgspec.Raw not in parts
    assert all(issubclass(part, Whole) for part in parts if issubclass(part, msgspec.Struct))


@every_provider
def test_a_documented_callback_is_not_decoded_again(
    provider: Provider[Any], samples: Sequence[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_body: bytes) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(payload, "_decode", refuse)
    topics = [provider.identify(Request(body)).event_type for body in bodies(provider, samples)]
    assert not [topic for topic in topics if topic.startswith("unknown.")]


@every_provider
@pytest.mark.parametrize("value", [b"null", b'"x"', b"1", b'{"a:":[]}'])
def test_a_key_that_is_named_twice_is_refused_wherever_it_stands(
    provider: Provider[Any], samples: Sequence[Sample], value: bytes
) -> None:
    for body in bodies(provider, samples):
        for key in re.finditer(rb'"\w+":', body):
            twice = body[: key.start()] + key[0] + value + b"," + body[key.start() :]
            with pytest.raises(Unreadable):
                provider.identify(Request(twice))
