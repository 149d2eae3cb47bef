"""Tables of README and of the page on settings say what the code says."""

import re
from collections.abc import Mapping

import msgspec
import pytest

from docs.readme_tables import README, with_tables
from hookline.schemas.providers import catalogue
from hookline.settings_sections import SECTIONS, SourceSettings

TEXT = README.read_text()
SETTINGS = (README.parent / "docs" / "settings.md").read_text()


def test_the_tables_match_the_code() -> None:
    assert with_tables(TEXT) == TEXT, "run `make tables`"


def test_every_provider_is_in_the_table_and_no_other() -> None:
    table = TEXT.partition("<!-- providers -->")[2].partition("<!-- /providers -->")[0]
    rows = [row.split("|")[2].strip() for row in table.strip().splitlines()[2:]]
    assert rows == [f"`{name}`" for name in catalogue()]


def part(section: str) -> str:
    """What the page says of a section of the file."""
    _, found, rest = SETTINGS.partition(f"\n## `[{section}]`\n")
    assert found
    return rest.partition("\n## ")[0]


PARTS: Mapping[str, type[msgspec.Struct]] = {**SECTIONS, "sources.<name>": SourceSettings}


@pytest.mark.parametrize("section", sorted(PARTS))
def test_the_page_of_settings_names_every_key(section: str) -> None:
    assert [key for key in msgspec.structs.fields(PARTS[section]) if f"`{key.encode_name}`" not in part(section)] == []


@pytest.mark.parametrize("section", sorted(PARTS))
def test_numbers_on_the_page_of_settings_are_the_defaults(section: str) -> None:
    said = {name: float(number) for name, number in re.findall(r"`(\w+)`[^`(]*\((\d+)\)", part(section))}
    defaults = {key.encode_name: key.default for key in msgspec.structs.fields(PARTS[section])}
    assert said == {name: defaults[name] for name in said}
