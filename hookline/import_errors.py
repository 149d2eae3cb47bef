"""The sentences for what cannot be imported: a user's module, or an optional library."""

from collections.abc import Iterator
from contextlib import contextmanager

from hookline.schemas.errors import SettingsError
from hookline.workers.user_code import raised_by_hookline, user_line


def not_importable(name: str, error: BaseException) -> SettingsError:
    """An error that names the line of the module that led to what it raised.

    What Hookline raises, such as a mistake in `@worker(…)`, speaks for itself.
    """
    line = user_line(error)
    if line is not None and raised_by_hookline(error):
        return SettingsError(f"{line.path}:{line.number}: {error}")
    if isinstance(error, SystemExit):
        where = "" if line is None else f" at {line.path}:{line.number}"
        return SettingsError(
            f'{name} exits when it is imported{where}: put what it runs under `if __name__ == "__main__":`'
        )
    where = "" if line is None or isinstance(error, SyntaxError) else f", in {line.path}:{line.number}"
    return SettingsError(f"{name} cannot be imported: {type(error).__name__}: {error}{where}")


@contextmanager
def optional_libraries(extra: str, needed_by: str) -> Iterator[None]:
    """Turns an ImportError into a SettingsError that says how to install the libraries of an extra.

    It names the libraries themselves. Hookline is on no public package index, where its name may be somebody else's.
    """
    try:
        yield
    except ImportError as error:
        raise SettingsError(f"{needed_by}: pip install {_quoted(extra)} ({error})") from None


def _quoted(extra: str) -> str:
    from importlib.metadata import requires  # noqa: PLC0415  it takes a tenth of a command's start

    marker = f"extra == '{extra}'"
    found = [each.partition(";") for each in requires("hookline") or ()]
    return " ".join(f"'{name.strip()}'" for name, _, condition in found if condition.strip() == marker)
