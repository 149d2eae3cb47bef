"""A re-send is the same event, and an event that differs in one fact is another one: for each provider's vectors."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.json_paths import Path, at, changed, paths
from tests.vector_cases import Vector, all_vectors, exceptions, is_form

EVENTS = [vector for vector in all_vectors() if not vector.case.expected.challenge and not is_form(vector.provider)]
KNOWN = [vector for vector in EVENTS if not vector.case.expected.event_type.startswith("unknown.")]
STAMPS = st.integers(0, 2**53) | st.text("aZ9:.云", max_size=12) | st.integers(0, 2**53).map(str) | st.none()


def event_id(vector: Vector, content: Any, **spelling: Any) -> str:
    return vector.seal(json.dumps(content, **spelling).encode()).id


def fact_paths(vector: Vector) -> Iterator[Path]:
    facts = exceptions(vector.provider.name).facts
    return (path for path in paths(vector.content) if path[-1] in facts)


def per_attempt(vector: Vector) -> list[str]:
    return sorted(exceptions(vector.provider.name).per_attempt & set(vector.content))


@pytest.mark.parametrize(
    "vector", [vector for vector in KNOWN if per_attempt(vector) and any(fact_paths(vector))], ids=str
)
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_a_re_send_with_other_stamps_is_the_same_event(vector: Vector, data: st.DataObject) -> None:
    stamps = {name: data.draw(STAMPS) for name in per_attempt(vector)}
    fields = data.draw(st.permutations(list((vector.content | stamps).items())))
    assert event_id(vector, dict(fields), indent=data.draw(st.sampled_from([None, 1]))) == vector.seal().id


@pytest.mark.parametrize("vector", [vector for vector in KNOWN if any(fact_paths(vector))], ids=str)
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_an_event_that_differs_in_one_fact_is_another_one(vector: Vector, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(fact_paths(vector))))
    value = at(vector.content, path)
    other = data.draw(st.integers(1, 10**6)) + value if type(value) is int else f"{value}{data.draw(st.text('ab1'))}x"
    assert event_id(vector, changed(vector.content, path, other)) != vector.seal().id
