"""One test per provider for all its cases. A test for each case costs several times more than the case itself."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeAlias, cast

import pytest

from hookline.schemas.provider import Provider
from tests.vector_cases import Vector

Test: TypeAlias = Callable[..., None]
Case: TypeAlias = tuple[Any, ...]


def by_provider(names: str, cases: Iterable[Case]) -> Callable[[Test], Test]:
    """Decorates a test of one case, whose arguments have these names. The first is a vector or a provider.

    Every case runs, also after one that fails. Each failure names its case.
    """
    arguments = names.split(", ")
    groups: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[provider_of(case).name].append(case)

    def decorate(test: Test) -> Test:
        @wraps(test)
        def test_all(cases_of_provider: Sequence[Case], **others: Any) -> None:
            found = (failure_of(test, dict(zip(arguments, case, strict=True)) | others) for case in cases_of_provider)
            raise_all([failure for failure in found if failure])

        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name not in arguments]
        given = inspect.Parameter("cases_of_provider", inspect.Parameter.KEYWORD_ONLY)
        test_all.__signature__ = signature.replace(parameters=[*kept, given])  # type: ignore[attr-defined]  # for pytest
        mark = pytest.mark.parametrize("cases_of_provider", groups.values(), ids=groups)
        return cast("Test", mark(test_all))

    return decorate


def each_of(vectors: Iterable[Vector]) -> Callable[[Test], Test]:
    return by_provider("vector", ((vector,) for vector in vectors))


def provider_of(case: Case) -> Provider[Any]:
    first: Vector | Provider[Any] = case[0]
    return first.provider if isinstance(first, Vector) else first


def failure_of(test: Test, case: dict[str, Any]) -> BaseException | None:
    try:
        test(**case)
    except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001
        failure.add_note(", ".join(f"{name} {value}" for name, value in case.items())[:1000])
        return failure
    return None


def raise_all(failures: Sequence[BaseException]) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} cases failed", failures)
