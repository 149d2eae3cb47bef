"""What led to an error."""

import traceback
from collections.abc import Iterator


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on, each once.

    Some chains are circles: aiormq makes an error its own context, and so may a function that raises one error from
    another after both were caught.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def kind_and_place(error: BaseException) -> str:
    """The type of an error that nobody expected, and its line. Its text may hold a payload or a password."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
