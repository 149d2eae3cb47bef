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


def row(section: str) -> str:
    (found,) = [line for line in SETTINGS.splitlines() if line.startswith(f"| `[{section}]`")]
    return found


ROWS: Mapping[str, type[msgspec.Struct]] = {**SECTIONS, "sources.<name>": SourceSettings}


@pytest.mark.parametrize("section", sorted(ROWS))
def test_the_settings_table_names_every_key(section: str) -> None:
    assert [key for key in msgspec.structs.fields(ROWS[section]) if f"`{key.encode_name}`" not in row(section)] == []


@pytest.mark.parametrize("section", sorted(ROWS))
def test_numbers_in_the_settings_table_are_the_defaults(section: str) -> None:
    said = {name: float(number) for name, number in re.findall(r"`(\w+)`[^`(]*\((\d+)\)", row(section))}
    defaults = {key.encode_name: key.default for key in msgspec.structs.fields(ROWS[section])}
    assert said == {name: defaults[name] for name in said}
