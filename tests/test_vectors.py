"""Each vector is accepted and compared with its case; each forgery made from it is refused."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hookline.events import Event
from hookline.schemas.errors import BadSignature, MissingSignature, StaleTimestamp, Unverified
from hookline.schemas.provider import Reply
from tests.by_provider import Test, by_provider, each_of
from tests.vector_cases import (
    FOREIGN_SECRET,
    Carrier,
    Vector,
    all_vectors,
    carriers,
    covers_body,
    covers_time,
    exceptions,
)

VECTORS = all_vectors()
EVENTS = [vector for vector in VECTORS if not vector.case.expected.challenge]
CHALLENGES = [vector for vector in VECTORS if vector.case.expected.challenge]
PROVEN = [vector for vector in VECTORS if not vector.case.unsigned]
SIGNED = [vector for vector in PROVEN if vector.source.keys]
CARRIED = [(vector, carrier) for vector in PROVEN for carrier in carriers(vector)]


def decoded(reply: Reply) -> object:
    """What a reply says; None for one without a body."""
    return msgspec.json.decode(reply.body) if reply.body else None


def each_carrier(*places: str) -> Callable[[Test], Test]:
    return by_provider("vector, carrier", (case for case in CARRIED if case[1].place in places))


every_proven = each_of(PROVEN)
every_event = each_of(EVENTS)
every_signed = each_of(SIGNED)
covering_body = each_of(vector for vector in SIGNED if covers_body(vector))
covering_time = each_of(vector for vector in SIGNED if covers_time(vector))


def _without_head(event: Event) -> dict[str, Any]:
    """An event as case.json writes it: without the fields that all events of a source share, and without nulls."""
    return _without_nulls(msgspec.json.decode(msgspec.json.encode(event)), ("id", "provider", "source", "received_at"))


def _without_nulls(fields: dict[str, Any], hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if value is not None and name not in hidden}
    if "seats" in kept:
        kept["seats"] = [_without_nulls(seat) for seat in kept["seats"]]
    return kept


@every_proven
def test_a_genuine_callback_verifies(vector: Vector) -> None:
    vector.verify()


@every_event
def test_it_is_sealed_under_its_type_and_subject(vector: Vector) -> None:
    envelope = vector.seal()
    assert (envelope.event_type, envelope.subject) == (vector.case.expected.event_type, vector.case.expected.subject)


@every_event
def test_its_id_never_changes_between_versions(vector: Vector) -> None:
    assert vector.seal().id == vector.case.expected.id


@every_event
def test_it_becomes_the_canonical_events(vector: Vector) -> None:
    events = vector.provider.normalise(vector.seal())
    assert [_without_head(event) for event in events] == vector.case.expected.events


@every_event
def test_its_events_name_provider_and_source(vector: Vector) -> None:
    envelope = vector.seal()
    heads = {(event.provider, event.source, event.received_at) for event in vector.provider.normalise(envelope)}
    assert heads == {(vector.provider.name, vector.source.name, envelope.received_at)}


@every_event
def test_its_events_have_ids_of_their_own(vector: Vector) -> None:
    envelope = vector.seal()
    ids = [event.id for event in vector.provider.normalise(envelope)]
    assert ids == ([envelope.id] if len(ids) == 1 else [f"{envelope.id}:{member}" for member in range(len(ids))])


@every_event
def test_an_event_is_no_url_check(vector: Vector) -> None:
    assert vector.challenge() is None


@every_event
def test_the_reply_is_the_one_that_the_provider_expects(vector: Vector) -> None:
    assert decoded(vector.provider.reply) == vector.case.expected.reply


@each_of(CHALLENGES)
def test_a_url_check_is_answered(vector: Vector) -> None:
    reply = vector.challenge()
    assert reply is not None
    assert decoded(reply) == vector.case.expected.reply


@each_of(vector for vector in CHALLENGES if not vector.case.unsigned)
def test_a_forged_url_check_is_refused(vector: Vector) -> None:
    with pytest.raises(BadSignature):
        vector.challenge(secrets=[FOREIGN_SECRET])


@each_of(vector for vector in CHALLENGES if vector.case.unsigned)
def test_an_unsigned_url_check_proves_nothing_else(vector: Vector) -> None:
    with pytest.raises(MissingSignature):
        vector.verify()


@each_of(vector for vector in EVENTS if vector.case.same_event_as)
def test_the_same_event_in_another_form_has_the_same_id(vector: Vector) -> None:
    assert vector.seal().id == vector.sibling.seal().id


@each_of(vector for vector in EVENTS if vector.case.resent)
def test_a_re_send_with_new_stamps_has_the_same_id(vector: Vector) -> None:
    body = vector.with_fields(vector.case.resent)
    assert vector.seal(body).id == vector.seal().id


def test_different_events_have_different_ids() -> None:
    originals = [vector for vector in EVENTS if not vector.case.same_event_as]
    assert [count for count in Counter(vector.seal().id for vector in originals).values() if count > 1] == []


@each_carrier("header", "query", "body")
def test_a_missing_part_of_the_signature_is_refused(vector: Vector, carrier: Carrier) -> None:
    missing = carrier.replaced(vector.request, [])
    if carrier.name in exceptions(vector.provider.name).needless:
        vector.verify(missing)
        return
    with pytest.raises(MissingSignature):
        vector.verify(missing)


@each_carrier("header", "query", "body")
@pytest.mark.parametrize("blank", ["", " ", "\t "], ids=repr)
def test_a_blank_part_of_the_signature_is_refused(vector: Vector, carrier: Carrier, blank: str) -> None:
    with pytest.raises(Unverified):
        vector.verify(carrier.replaced(vector.request, [blank]))


def _junk(value: str) -> list[str]:
    """Changed values. Where a header lists several signatures, each of them is changed."""
    return [" ".join(each) for each in zip(*map(_junk_of_one, value.split(" ")), strict=True)]


def _junk_of_one(value: str) -> list[str]:
    return [
        value[:-1],
        value[1:],
        value + "0",
        value + "=",
        value + value,
        " " + value,
        value + "\n",
        value[:-1] + "é",
        value[:-1] + "!",
        value[:-1] + "\0",
        "x" * len(value),
        "0" * len(value),
        "\u0663" * len(value),
        value[:4] + "_" + value[5:],
        "-" + value[1:],
        "z" * 10_000,
    ]


@each_carrier("header", "query", "body")
def test_junk_in_a_part_of_the_signature_is_refused(vector: Vector, carrier: Carrier) -> None:
    for junk in _junk(carrier.value(vector.request)):
        with pytest.raises(Unverified):
            vector.verify(carrier.replaced(vector.request, [junk]))


@each_carrier("header")
def test_a_header_that_is_not_utf_8_is_refused(vector: Vector, carrier: Carrier) -> None:
    damaged = " ".join(part[:-1] + "\udcff" for part in carrier.value(vector.request).split(" "))
    with pytest.raises(Unverified):
        vector.verify(carrier.replaced(vector.request, [damaged]))


@each_carrier("body")
def test_json_of_another_kind_in_a_part_of_the_signature_is_refused(vector: Vector, carrier: Carrier) -> None:
    others: list[Any] = [None, True, 1, -1, 1.5, 10**30, [], {}, [carrier.value(vector.request)]]
    for junk in others:
        with pytest.raises(Unverified):
            vector.verify(carrier.replaced(vector.request, [junk]))


@each_carrier("header", "query")
def test_a_repeated_part_of_the_signature_is_refused(vector: Vector, carrier: Carrier) -> None:
    value = carrier.value(vector.request)
    for values in ([value, value], [value, "x"], ["x", value], [value, ""], ["", value]):
        with pytest.raises(Unverified):
            vector.verify(carrier.replaced(vector.request, values))


@covering_body
def test_a_changed_byte_anywhere_in_a_signed_body_is_refused(vector: Vector) -> None:
    body = vector.request.body
    for place in range(len(body)):
        forged = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        with pytest.raises(BadSignature):
            vector.verify(type(vector.request)(forged, vector.request.headers, vector.request.query))


@covering_body
def test_a_signed_body_cut_or_lengthened_is_refused(vector: Vector) -> None:
    body = vector.request.body
    for forged in (b"", body[:-1], body[1:], body + b" ", body + body):
        with pytest.raises(BadSignature):
            vector.verify(type(vector.request)(forged, vector.request.headers, vector.request.query))


@every_signed
def test_a_foreign_secret_is_refused(vector: Vector) -> None:
    with pytest.raises(BadSignature):
        vector.verify(secrets=[FOREIGN_SECRET])


@every_signed
def test_an_empty_secret_is_refused(vector: Vector) -> None:
    with pytest.raises(BadSignature):
        vector.verify(secrets=[""])


@every_signed
def test_a_source_without_secrets_accepts_nothing(vector: Vector) -> None:
    with pytest.raises(BadSignature):
        vector.verify(secrets=[])


@every_signed
def test_any_of_several_secrets_verifies(vector: Vector) -> None:
    ours = vector.case.settings["secrets"][0]
    vector.verify(secrets=[ours, FOREIGN_SECRET])
    vector.verify(secrets=[FOREIGN_SECRET, ours])
    vector.verify(secrets=[FOREIGN_SECRET, "a-third-secret", ours])


@covering_time
@pytest.mark.parametrize("later_s", [-310, 310, -(10**9), 10**9], ids="{} s".format)
def test_a_signed_time_beyond_the_tolerance_is_stale(vector: Vector, later_s: int) -> None:
    with pytest.raises(StaleTimestamp):
        vector.verify(later_s=later_s)


@covering_time
@pytest.mark.parametrize("later_s", [-290, 290], ids="{} s".format)
def test_a_signed_time_within_the_tolerance_is_fresh(vector: Vector, later_s: int) -> None:
    vector.verify(later_s=later_s)


@covering_time
def test_an_old_forgery_is_refused_as_a_forgery(vector: Vector) -> None:
    with pytest.raises(BadSignature):
        vector.verify(secrets=[FOREIGN_SECRET], later_s=10**6)


@every_proven
def test_a_refusal_never_quotes_what_it_refused(vector: Vector) -> None:
    for carrier in carriers(vector):
        with pytest.raises(Unverified) as refused:
            vector.verify(carrier.replaced(vector.request, ["smuggled-text"]))
        assert "smuggled-text" not in str(refused.value)
