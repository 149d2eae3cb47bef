"""mypy accepts valid workers, and reports each mistake at its line."""

import re
from pathlib import Path

import pytest
from mypy import api

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
ACCEPTED = sorted([*(FOLDER / "accepted").glob("*.py"), *(ROOT / "docs" / "examples").glob("*.py")])
REFUSED = sorted((FOLDER / "refused").glob("*.py"))

_ERROR = re.compile(r"(?P<path>[^:]+):(?P<line>\d+): error: (?P<text>.*)")


@pytest.fixture(scope="module")
def errors() -> dict[tuple[Path, int], str]:
    """The errors of all files, by file and line. mypy runs once, because its start takes most of the time."""
    files = [str(path) for path in (*ACCEPTED, *REFUSED)]
    said, broken, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), *files])
    assert not broken, broken
    found: dict[tuple[Path, int], str] = {}
    for match in filter(None, map(_ERROR.fullmatch, said.splitlines())):
        place = (Path(match["path"]).resolve(), int(match["line"]))
        found[place] = f"{found.get(place, '')}{match['text']}\n"
    return found


def expectations(path: Path) -> dict[int, str]:
    """The errors that the comments of a file expect: by line, a part of the text."""
    lines = enumerate(path.read_text().splitlines(), 1)
    return {number: line.partition("# error: ")[2] for number, line in lines if "  # error: " in line}


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_a_valid_worker_has_no_error(errors: dict[tuple[Path, int], str], path: Path) -> None:
    assert {place[1]: text for place, text in errors.items() if place[0] == path} == {}


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_each_mistake_is_reported_at_its_line(errors: dict[tuple[Path, int], str], path: Path) -> None:
    found = {place[1]: text for place, text in errors.items() if place[0] == path}
    expected = expectations(path)
    assert sorted(found) == sorted(expected)
    assert [line for line, text in expected.items() if text not in found[line]] == []
