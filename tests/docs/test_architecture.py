"""Every name on the page on the architecture exists, and its rooms are those of the code."""

import importlib
import re
from importlib.util import find_spec

import pytest

from tests.docs.pages import ROOT
from tests.test_layers import ALLOWED

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"\bhookline(?:\.\w+)+", TEXT)))
FILES = sorted(set(re.findall(r"`([\w-]+/[\w./-]*)`", TEXT)))
ROOMS = TEXT.partition("<!-- rooms -->")[2].partition("<!-- /rooms -->")[0]


def resolved(name: str) -> object:
    """What the name stands for: the longest part of it that is a module, and attributes from there."""
    words = name.split(".")
    split = next(number for number in range(len(words), 0, -1) if is_module(".".join(words[:number])))
    value: object = importlib.import_module(".".join(words[:split]))
    for word in words[split:]:
        value = getattr(value, word)
    return value


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what stands before the last point is a module, but no package
        return False


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_page_exists(name: str) -> None:
    assert resolved(name) is not None


@pytest.mark.parametrize("file", FILES)
def test_a_file_or_folder_on_the_page_exists(file: str) -> None:
    assert (ROOT / file).exists()


def test_a_name_that_is_wrong_would_be_found() -> None:
    with pytest.raises(AttributeError):
        resolved("hookline.ingress.receive.Receiver.recieve")


def test_the_table_of_rooms_says_what_the_layers_test_allows() -> None:
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in ROOMS.strip().splitlines()[2:]]
    said = {name.strip("`").removeprefix("hookline."): set(re.findall(r"\w+", allowed)) for name, _, allowed in rows}
    assert {room: names - {"nothing"} for room, names in said.items()} == {
        room: set(others - {room}) for room, others in ALLOWED.items()
    }
