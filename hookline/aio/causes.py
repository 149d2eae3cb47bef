"""What led to an error."""

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
