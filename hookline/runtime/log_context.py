"""What every line of the log has beside its text, while a worker's function runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_FACTS: ContextVar[Mapping[str, str]] = ContextVar("hookline_log_facts", default=MappingProxyType({}))


@contextmanager
def logged_with(**facts: str) -> Iterator[None]:
    """Put these facts into each JSON line that this task logs."""
    token = _FACTS.set(facts)
    try:
        yield
    finally:
        _FACTS.reset(token)


def logged_facts() -> Mapping[str, str]:
    """The facts of the task that logs now."""
    return _FACTS.get()
