"""`by_provider` runs every case, and its failures name theirs."""

import inspect
from typing import Any

import pytest

from tests.by_provider import Test, by_provider
from tests.vector_cases import all_vectors

VECTORS = all_vectors()
ONE, TWO, THREE = [vector for vector in VECTORS if vector.provider is VECTORS[0].provider][:3]
OTHER = VECTORS[-1]
CASES = [(ONE, "a"), (TWO, "b"), (OTHER, "c"), (THREE, "d")]


@by_provider("vector, word", CASES)
def only_a_passes(number: int, word: str, vector: object) -> None:
    """pytest does not collect it."""
    if word == "d":
        pytest.fail(f"never d, {number}")
    assert word == "a"


def groups(test: Test) -> dict[str, Any]:
    (mark,) = test.pytestmark  # type: ignore[attr-defined]  # pytest writes it
    return dict(zip(mark.kwargs["ids"], mark.args[1], strict=True))


def test_there_is_one_test_per_provider_with_all_its_cases() -> None:
    one, other = ONE.provider.name, OTHER.provider.name
    assert groups(only_a_passes) == {one: [CASES[0], CASES[1], CASES[3]], other: [CASES[2]]}


def test_further_parameters_stay_parameters() -> None:
    assert [*inspect.signature(only_a_passes).parameters] == ["number", "cases_of_provider"]


def test_a_single_failure_is_raised_as_it_is_and_names_its_case() -> None:
    with pytest.raises(AssertionError) as failed:
        only_a_passes(cases_of_provider=[CASES[0], CASES[2]], number=1)
    assert failed.value.__notes__ == [f"vector {OTHER}, word c, number 1"]


def test_every_failure_is_raised() -> None:
    with pytest.raises(BaseExceptionGroup, match="2 cases failed") as failed:
        only_a_passes(cases_of_provider=[CASES[0], CASES[1], CASES[3]], number=2)
    notes = [error.__notes__ for error in failed.value.exceptions]
    assert notes == [[f"vector {TWO}, word b, number 2"], [f"vector {THREE}, word d, number 2"]]
