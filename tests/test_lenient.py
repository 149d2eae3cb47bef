"""A field of another type than documented costs at most itself, never the event."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
import pytest

from hookline.events import Event, Unknown
from hookline.schemas.lenient import decode_leniently
from hookline.schemas.payload import BYTE_ORDER_MARK, Int, whole_number
from tests.by_provider import each_of
from tests.json_paths import Path, at, changed, paths
from tests.vector_cases import Vector, all_vectors, exceptions, is_form

KNOWN = [
    vector
    for vector in all_vectors()
    if not is_form(vector.provider)
    and vector.case.expected.subject
    and not vector.case.expected.event_type.startswith("unknown.")
]
each_known = each_of(KNOWN)

OTHERS: list[Any] = [
    *("7", "", "x", "x" * 600, "1e3", "-1", "\N{FULLWIDTH DIGIT ONE}", "true"),
    *(0, -1, 10**30, 1.5, -0.0, 1e300, None, True, False),
    *([], [7], [None], [{}], {}, {"a": 1}, {"": []}),
]


def events_of(vector: Vector, content: Any) -> list[dict[str, Any]]:
    """The canonical events of another body, as JSON without ids, which may depend on any field."""
    envelope = vector.seal(msgspec.json.encode(content))
    return [_as_json(event) for event in vector.provider.normalise(envelope)]


def _as_json(event: Event) -> dict[str, Any]:
    assert not isinstance(event, Unknown)
    assert datetime(2015, 1, 1, tzinfo=UTC) <= event.occurred_at <= event.received_at + timedelta(hours=1)
    fields: dict[str, Any] = msgspec.to_builtins(event)
    del fields["id"]
    return fields


@cache
def said_by(provider: str) -> Mapping[str | int, set[str]]:
    """The fields of events that each field of this provider's callbacks gives, in any of the vectors."""
    said: defaultdict[str | int, set[str]] = defaultdict(set)
    for vector in KNOWN:
        if vector.provider.name == provider:
            before = events_of(vector, vector.content)
            for path in optional_paths(vector, vector.content):
                after = events_of(vector, changed(vector.content, path))
                for event, bare in zip(before, after, strict=True):
                    said[path[-1]] |= differences(event, bare)
    return said


def differences(event: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {name for name in {**event, **other} if event.get(name) != other.get(name)}


def optional_paths(vector: Vector, content: Any) -> Iterator[Path]:
    required = exceptions(vector.provider.name).required
    for path in paths(content):
        names = [name for name in path if isinstance(name, str)]
        list_of_required = isinstance(path[-1], int) and names[-1] in required
        if names[-1] not in required and not list_of_required:
            yield path


@each_known
def test_an_optional_field_of_another_type_costs_at_most_what_it_says(vector: Vector) -> None:
    before = events_of(vector, vector.content)
    for path in optional_paths(vector, vector.content):
        for other in OTHERS:
            after = events_of(vector, changed(vector.content, path, other))
            for event, found in zip(before, after, strict=True):
                assert differences(event, found) <= said_by(vector.provider.name)[path[-1]], (path, other)


@each_known
def test_a_number_in_quotes_is_read(vector: Vector) -> None:
    content = vector.content
    before = events_of(vector, content)
    for path in paths(content):
        value = at(content, path)
        empty_seat = (path[-1], value) == ("Member_Account", 0)
        if type(value) is int and not empty_seat and path != ("eventType",) and not _is_a_change(vector, path):
            assert events_of(vector, changed(content, path, str(value))) == before


@each_known
def test_a_whole_number_with_a_fraction_is_read(vector: Vector) -> None:
    content = vector.content
    before = events_of(vector, content)
    for path in paths(content):
        value = at(content, path)
        small = type(value) is int and abs(value) < 2**53 and path not in {("eventType",), ("Time",)}
        if small and not _is_a_change(vector, path):
            assert events_of(vector, changed(content, path, float(value))) == before


def _is_a_change(vector: Vector, path: Path) -> bool:
    """Whether the event has the field as the provider sent it."""
    return any(event.get("changes") for event in vector.case.expected.events) and path[0] != "Operate"


@each_known
def test_a_byte_order_mark_changes_nothing(vector: Vector) -> None:
    body = vector.request.body.removeprefix(BYTE_ORDER_MARK)
    assert vector.seal(BYTE_ORDER_MARK + body).id == vector.seal(body).id
    envelopes = [vector.seal(body), msgspec.structs.replace(vector.seal(body), body=BYTE_ORDER_MARK + body)]
    assert vector.provider.normalise(envelopes[0]) == vector.provider.normalise(envelopes[1])


class Inner(msgspec.Struct, frozen=True):
    count: int | None = None


class Form(msgspec.Struct):
    name: str
    size: Int = 3
    inner: Inner = Inner()
    items: tuple[Inner, ...] | None = None
    named: dict[str, Inner | None] = {}


FORM = msgspec.json.Decoder(Form)


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ({"name": 5}, Form("5")),
        ({"name": 5.0}, Form("5")),
        ({"name": "a", "size": "-12"}, Form("a", -12)),
        ({"name": "a", "size": "12.9"}, Form("a", 12)),
        ({"name": "a", "size": 12.9}, Form("a", 12)),
        ({"name": "a", "size": None}, Form("a")),
        ({"name": "a", "size": True}, Form("a")),
        ({"name": "a", "size": 1e300}, Form("a")),
        ({"name": "a", "size": []}, Form("a")),
        ({"name": "a", "inner": []}, Form("a")),
        ({"name": "a", "inner": {"count": "5"}}, Form("a", inner=Inner(5))),
        ({"name": "a", "inner": {"count": {}}}, Form("a")),
        ({"name": "a", "items": [{"count": "5"}, {"count": "x"}]}, Form("a", items=(Inner(5), Inner()))),
        ({"name": "a", "items": [{}, 7]}, Form("a")),
        (
            {"name": "a", "named": {"b": {"count": "5"}, "c": {"count": []}}},
            Form("a", named={"b": Inner(5), "c": Inner()}),
        ),
        ({"name": "a", "named": {"b": 7}}, Form("a", named={"b": None})),
        ({"name": "a", "items": {"count": 5}}, Form("a")),
    ],
    ids=str,
)
def test_each_field_is_read_or_left_out(content: Any, read: Form) -> None:
    assert decode_leniently(FORM, msgspec.json.encode(content)) == read


@pytest.mark.parametrize("size", [b"1e400", b"-1e400", b"1e99999999999999999999", b"1" + b"0" * 4000])
def test_a_number_beyond_all_bounds_is_left_out(size: bytes) -> None:
    assert decode_leniently(FORM, b'{"name":"a","size":' + size + b"}") == Form("a")


@pytest.mark.parametrize("name", [None, True, [], {}, 5.5, 2.0**53, 1e300], ids=repr)
def test_a_required_text_that_cannot_be_read_names_its_place(name: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.name"):
        decode_leniently(FORM, msgspec.json.encode({"name": name, "size": "x"}))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5),
        ("5", 5),
        (5.5, 5),
        ("1" * 19, int("1" * 19)),
        ("1" * 20, None),
        (True, None),
        ("", None),
        (None, None),
        (10**400, None),
    ],
    ids=repr,
)
def test_a_whole_number_is_read_in_each_form(value: Any, number: int | None) -> None:
    assert whole_number(value) == number
