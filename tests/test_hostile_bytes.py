"""A provider raises only our own errors, whatever the bytes are."""

import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from itertools import product, repeat
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from hookline.schemas import payload
from hookline.schemas.envelope import UNREADABLE, Envelope, moment, seal, to_headers, unreadable
from hookline.schemas.errors import MalformedRequest, Unreadable, Unverified
from hookline.schemas.provider import Provider, Request
from hookline.schemas.providers import catalogue
from tests.by_provider import by_provider, each_of
from tests.json_paths import Path, at, changed, paths
from tests.vector_cases import (
    Vector,
    all_vectors,
    carriers,
    challenge_of,
    example_source,
    is_form,
    seal_with,
    sent,
    with_a_field_twice,
)

PROVIDERS = list(catalogue().values())
EVENTS = [vector for vector in all_vectors() if not vector.case.expected.challenge]
IN_JSON = [vector for vector in EVENTS if not is_form(vector.provider)]
KNOWN = [vector for vector in IN_JSON if vector.case.expected.subject]


def subject_places(vector: Vector) -> list[Path]:
    """Where a body names the subject."""
    content = vector.content
    return [path for path in paths(content) if str(at(content, path)) == vector.case.expected.subject]


NAMED = [vector for vector in KNOWN if subject_places(vector)]
NAMED_WITHIN_A_TEXT = [vector for vector in KNOWN if not subject_places(vector)]
ONE_OF_EACH_TYPE = [*{(vector.provider.name, vector.case.expected.event_type): vector for vector in IN_JSON}.values()]
ONE_OF_EACH_PROVIDER = [*{vector.provider.name: vector for vector in IN_JSON}.values()]
NOW_S = 1_700_000_000.0

often = settings(max_examples=75, deadline=None, derandomize=True, database=None)
each_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
each_json_provider = pytest.mark.parametrize(
    "provider", [provider for provider in PROVIDERS if not is_form(provider)], ids=lambda provider: provider.name
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["true", "0", "", "20", "101", "ROOM_JOIN", "\0", "\U0001d7d8", "1" * 600, 20, 21, 1, 101, 2**53 + 1]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)

JUNK = {
    "invalid utf-8": b'"\xff"',
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "same key": b'{"a":1,"a":2}',
    "open object": b"{",
    "NaN": b"NaN",
    "leading zero": b"01",
    "100,000 brackets": b"[" * 100_000,
}
HOSTILE_BODIES: dict[str, bytes] = {
    "empty": b"",
    "spaces": b" \r\n\t ",
    "no json": b"hello",
    "cut short": b'{"a":',
    "two documents": b"{}{}",
    "trailing comma": b'{"a":1,}',
    "comment": b'{"a":1 /* b */}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"a":1}'.encode("utf-16"),
    "invalid utf-8": b'{"a":"\xff"}',
    "overlong utf-8": b'{"a":"\xc0\xaf"}',
    "utf-8 surrogate": b'{"a":"\xed\xa0\x80"}',
    "escaped surrogate": b'{"a":"\\ud800"}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "1e400": b'{"a":1e400}',
    "5,000 digits": b'{"a":' + b"1" * 5000 + b"}",
    "leading zero": b'{"a":01}',
    "deep array": b'{"a":' + b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "closed and deep": b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
    "200,000 keys": b"{" + b",".join(b'"%d":0' % number for number in range(200_000)) + b"}",
    "same key": b'{"a":1,"a":1}',
    "same key, escaped": b'{"id":1,"\\u0069d":1}',
    "same key, deep": b'{"a":[{"b":{"c":1,"c":2}}]}',
    "null": b"null",
    "array": b"[]",
    "text": b'"x"',
    "number": b"1",
    "control character": b'{"a":"\x00"}',
}
each_hostile_body = by_provider("provider, body", product(PROVIDERS, HOSTILE_BODIES.values()))


def read(provider: Provider[Any], body: bytes) -> Envelope:
    """The envelope of a verified body, after a worker has normalised it. Any error but Unreadable fails the test."""
    try:
        envelope = seal_with(provider, body, NOW_S)
    except Unreadable:
        return _sealed_unreadable(provider, body)
    _check(envelope, provider)
    return envelope


def _sealed_unreadable(provider: Provider[Any], body: bytes) -> Envelope:
    identity = unreadable(body)
    envelope = seal(identity, body, provider=provider.name, source="x", content_type="", received_at=moment(NOW_S))
    with pytest.raises(Unreadable):
        provider.normalise(envelope)
    return envelope


def _check(envelope: Envelope, provider: Provider[Any]) -> None:
    """A worker can read what the ingress could read, and the envelope fits into a message."""
    events = provider.normalise(envelope)
    assert len({event.id for event in events}) == len(events) > 0
    assert all(len(word) <= 64 for word in envelope.routing_key.split("."))
    assert envelope.routing_key.isascii()
    assert "\0" not in "".join(to_headers(envelope).values())
    assert len(envelope.subject) <= 512
    msgspec.json.encode(events)


def verify(provider: Provider[Any], request: Request) -> None:
    source = example_source(provider)
    with suppress(Unverified, MalformedRequest):
        provider.verify(request, source, NOW_S)
    with suppress(Unverified, MalformedRequest):
        challenge_of(source, request, NOW_S)


def headers_of(provider: Provider[Any], value: Callable[[], str]) -> CIMultiDict[str]:
    names = provider.sign(b"{}", example_source(provider), NOW_S).headers
    return CIMultiDict({name: value() for name in names})


@each_hostile_body
def test_a_hostile_body_is_verified_or_refused(provider: Provider[Any], body: bytes) -> None:
    verify(provider, Request(body, CIMultiDict()))
    try:
        outgoing = provider.sign(body, example_source(provider), NOW_S)
    except (ValueError, RecursionError):
        return
    verify(provider, sent(outgoing))


@each_hostile_body
def test_a_hostile_body_is_kept_as_unreadable_or_unknown(provider: Provider[Any], body: bytes) -> None:
    assert read(provider, body).event_type.partition(".")[0] in {UNREADABLE, "unknown"}


@each_of(IN_JSON)
@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_in_an_unused_field_is_unreadable(vector: Vector, junk: bytes) -> None:
    body = vector.request.body.rstrip()[:-1] + b',"skipped":' + junk + b"}"
    with pytest.raises(Unreadable):
        vector.identify(body)


def test_a_key_named_twice_in_different_escapes_is_found() -> None:
    for vector in IN_JSON:
        body = vector.request.body.rstrip()[:-1] + b',"skipped":{"id":1,"\\u0069d":2}}'
        with pytest.raises(Unreadable, match="names a key twice"):
            vector.identify(body)


@pytest.mark.parametrize(
    "twice", [b'"a":1,"a":"\\u003a"', b'"a":1,"b":"\\u003A","a":2', b'"\\u0061":":","a":"\\u003a\\u003a"']
)
def test_an_escaped_colon_hides_no_key_named_twice(twice: bytes) -> None:
    for vector in IN_JSON:
        body = vector.request.body.rstrip()[:-1] + b',"skipped":{' + twice + b"}}"
        with pytest.raises(Unreadable, match="names a key twice"):
            vector.identify(body)


@each_json_provider
def test_the_search_for_keys_named_twice_refuses_nothing_else(provider: Provider[Any]) -> None:
    vector = next(vector for vector in IN_JSON if vector.provider is provider)
    skipped = b',"skipped":["same","same",{"a":1},{"a":' + b"1" * 5000 + b'},"\\u0069"]}'
    vector.identify(vector.request.body.rstrip()[:-1] + skipped)


JSON_TEXTS = st.recursive(
    st.sampled_from(["1", "1e400", "null", '"a"', '"b"', '"c"', '"\\u0061"', '":"', '"\\u003a"', '"云"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{' ,'.join(values)}]")
        | st.lists(st.tuples(st.sampled_from(['"a"', '"b"', '"\\u0061"', '":"', '"\\u003A"']), inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{name} :{value}" for name, value in pairs) + "}"
        )
    ),
    max_leaves=8,
)


PADDINGS = (
    "",
    f',"long":"{"x" * 10_000}"',
    f',"long":"{"x" * 10_000}","{"x" * 9_999}y":"{"x" * 10_000}"',
    ',"many":[' + ",".join(['{"x":"y:z"}'] * 2_000) + "]",
)


@settings(often, max_examples=300)
@given(vector=st.sampled_from(ONE_OF_EACH_PROVIDER), skipped=JSON_TEXTS, padding=st.sampled_from(PADDINGS))
def test_a_key_named_twice_is_found_if_a_complete_parser_finds_one(vector: Vector, skipped: str, padding: str) -> None:
    body = vector.request.body.rstrip()[:-1] + f',"skipped":{skipped}{padding}}}'.encode()
    named_twice = False

    def note(pairs: list[tuple[str, Any]]) -> None:
        nonlocal named_twice
        named_twice |= len(dict(pairs)) < len(pairs)

    json.loads(body, object_pairs_hook=note)
    with pytest.raises(Unreadable, match="names a key twice") if named_twice else nullcontext():
        vector.identify(body)


def test_a_large_body_whose_objects_share_keys_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def decode(body: bytes) -> Any:
        decoded.append(body)
        return payload.anything.decode(body)

    monkeypatch.setattr(payload, "_decode", decode)
    members = ",".join([f'{{"name":"{"x" * 3000}","roles":["{"y" * 3000}",{{"name":1}}]}}'] * 100)
    body = f'{{"count":100,"members":[{members}]}}'.encode()
    payload.read(payload.anything, body)
    assert sum(map(len, decoded)) < len(body) / 50
    with pytest.raises(Unreadable, match="names a key twice"):
        payload.read(payload.anything, body.replace(b'"roles"', b'"name" ', 1))


@each_of(ONE_OF_EACH_TYPE)
def test_a_field_of_another_type_raises_only_our_errors(vector: Vector) -> None:
    content = vector.content
    others: list[Any] = [
        None,
        True,
        1.0,
        -0.0,
        10**19,
        10**30,
        10**400,
        -(2**63) - 1,
        "",
        "\0",
        "x" * 10_000,
        [],
        {},
        [[]],
    ]
    for path in paths(content):
        for other in [*others, [None], [{}], {"": ""}, "1e3", "%s{0.__class__}${jndi:x}", "a.b.*.#"]:
            read(vector.provider, json.dumps(changed(content, path, other)).encode())


@each_json_provider
def test_a_text_of_a_million_characters_raises_only_our_errors(provider: Provider[Any]) -> None:
    content = next(vector for vector in IN_JSON if vector.provider is provider).content
    for path in paths(content):
        read(provider, json.dumps(changed(content, path, "x" * 1_000_000)).encode())


@each_of(ONE_OF_EACH_TYPE)
def test_a_missing_field_raises_only_our_errors(vector: Vector) -> None:
    content = vector.content
    for path in paths(content):
        read(vector.provider, json.dumps(changed(content, path)).encode())


@each_of(ONE_OF_EACH_TYPE)
def test_a_body_cut_anywhere_is_unreadable(vector: Vector) -> None:
    body = vector.request.body.rstrip()
    for end in range(len(body)):
        with pytest.raises(Unreadable):
            vector.identify(body[:end])


@each_of(NAMED)
def test_an_identifier_with_a_nul_is_unreadable(vector: Vector) -> None:
    content = vector.content
    path, *_ = subject_places(vector)
    with pytest.raises(Unreadable, match="NUL"):
        vector.identify(msgspec.json.encode(changed(content, path, "a\0b")))


@each_of(NAMED_WITHIN_A_TEXT)
def test_an_identifier_with_a_nul_in_json_within_a_text_reaches_no_event(vector: Vector) -> None:
    content, subject = vector.content, vector.case.expected.subject
    texts = [path for path in paths(content) if isinstance(at(content, path), str) and subject in at(content, path)]
    assert texts
    for path in texts:
        forged = at(content, path).replace(subject, "a\\u0000b")
        body = msgspec.json.encode(changed(content, path, forged))
        with suppress(Unreadable):
            envelope = vector.seal(body)
            made = msgspec.to_builtins([envelope.subject, vector.provider.normalise(envelope)])
            assert [value for value in map(str, map(at, repeat(made), paths(made))) if "\0" in value] == []


@pytest.mark.parametrize(
    "escaped",
    [b"\\u0000", b"a\\u0000b", b"\\\\\\u0000", b"\\n\\u0000"],
    ids=["alone", "between letters", "after an escaped backslash", "after a new line"],
)
def test_a_nul_in_any_text_is_unreadable(escaped: bytes) -> None:
    for vector in IN_JSON:
        body = vector.request.body.rstrip()[:-1] + b',"skipped":["' + escaped + b'"]}'
        with pytest.raises(Unreadable, match="NUL"):
            vector.identify(body)


@pytest.mark.parametrize(
    "escaped",
    [b"\\\\u0000", b"\\\\\\\\u0000", b"u0000"],
    ids=["one escaped backslash", "two escaped backslashes", "no backslash"],
)
def test_text_that_only_looks_like_an_escaped_nul_is_readable(escaped: bytes) -> None:
    for vector in IN_JSON:
        vector.identify(vector.request.body.rstrip()[:-1] + b',"skipped":["' + escaped + b'"]}')


# Making an example takes longer than each provider takes to read it, and Hypothesis would make the same for each.
@often
@given(body=st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_our_errors(body: bytes) -> None:
    for provider in PROVIDERS:
        verify(provider, Request(body, CIMultiDict()))
        read(provider, body)


@often
@given(value=VALUES)
def test_arbitrary_json_raises_only_our_errors(value: Any) -> None:
    body = json.dumps(value).encode()
    for provider in PROVIDERS:
        verify(provider, Request(body, CIMultiDict()))
        read(provider, body)


@each_json_provider
@often
@given(data=st.data())
def test_arbitrary_values_in_a_known_form_raise_only_our_errors(provider: Provider[Any], data: st.DataObject) -> None:
    vector = data.draw(st.sampled_from([vector for vector in EVENTS if vector.provider is provider]))
    content = vector.content
    for _ in range(data.draw(st.integers(1, 3))):
        content = changed(content, data.draw(st.sampled_from(paths(content))), data.draw(VALUES))
    body = json.dumps(content).encode()
    read(provider, body)
    verify(provider, Request(body, vector.request.headers, vector.request.query))


@each_provider
@often
@given(data=st.data())
def test_changed_bytes_raise_only_our_errors(provider: Provider[Any], data: st.DataObject) -> None:
    vector = data.draw(st.sampled_from([vector for vector in EVENTS if vector.provider is provider]))
    body = bytearray(vector.request.body)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    read(provider, bytes(body))
    verify(provider, Request(bytes(body), vector.request.headers, vector.request.query))


@each_provider
@often
@given(data=st.data())
def test_arbitrary_headers_raise_only_our_errors(provider: Provider[Any], data: st.DataObject) -> None:
    texts = st.text(st.characters(codec=None), max_size=50) | st.text("0123456789abcdefABCDEF=+/", max_size=64)
    verify(provider, Request(b"{}", headers_of(provider, lambda: data.draw(texts))))


@often
@given(
    query=st.text(st.characters(codec=None), max_size=100) | st.text("&=%+;aSsdkappidignSIGN0123456789", max_size=60)
)
def test_an_arbitrary_query_raises_only_our_errors(query: str) -> None:
    for provider in PROVIDERS:
        verify(provider, Request(b"{}", CIMultiDict(), query))


@each_of(vector for vector in all_vectors() if vector.case.expected.challenge)
def test_a_genuine_check_of_the_url_that_cannot_be_read_is_none(vector: Vector) -> None:
    outgoing = vector.provider.sign(with_a_field_twice(vector.provider, vector.request.body), vector.source, NOW_S)
    assert challenge_of(vector.source, sent(outgoing), NOW_S) is None


@each_provider
@often
@given(data=st.data())
def test_arbitrary_text_in_any_part_of_a_signature_is_refused(provider: Provider[Any], data: st.DataObject) -> None:
    signed = [vector for vector in EVENTS if vector.provider is provider and vector.source.keys]
    vector = data.draw(st.sampled_from(signed))
    carrier = data.draw(st.sampled_from(carriers(vector)))
    text = data.draw(st.text(max_size=40))
    if text.lower() != carrier.value(vector.request).lower():
        with pytest.raises(Unverified):
            vector.verify(carrier.replaced(vector.request, [text]))
