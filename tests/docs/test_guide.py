"""The guide shows every example unchanged, and the links of all pages work."""

import dataclasses
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS, ROWS
from hookline.provider import Provider
from hookline.schemas.providers import catalogue
from tests.docs.pages import PAGES, ROOT

GUIDE = ROOT / "docs" / "writing-workers.md"
LINKED = (*PAGES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", ROOT / "tests" / "vectors" / "README.md")
EXAMPLES = ROOT / "docs" / "examples"

_URL = re.compile(r"https?://(localhost|127\.0\.0\.1|([\w-]+\.)+[a-z]{2,})(:\d+)?(/[\w./~%+=&?#@:,-]*)?")
_INCLUDED = re.compile(r"<!-- examples/(?P<name>\S+) -->\n```\w+\n(?P<text>.*?)```\n", re.DOTALL)


def included() -> dict[str, str]:
    return {match["name"]: match["text"] for match in _INCLUDED.finditer(GUIDE.read_text(encoding="utf-8"))}


def test_the_guide_shows_every_example_unchanged() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES.iterdir() if path.is_file()}
    assert included() == files


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_the_links_of_a_page_work(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_to_other_sites_are_urls(page: Path) -> None:
    """`make docs-links` asks for each of them; this does not need the internet."""
    links = re.findall(r"\]\((\w+:[^)]*)\)", page.read_text(encoding="utf-8"))
    wrong = [link for link in links if not _URL.fullmatch(link)]
    assert wrong == []


def test_rows_that_the_page_on_performance_names_can_be_measured() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    commands = re.findall(r"python -m benchmarks ([^`#\n]*)", text)
    words = [word for command in commands for word in re.sub(r"--\w+ \d+|>.*|--\w+", "", command).split()]
    assert words
    assert set(words) <= {*ROWS, *GROUPS}


def test_the_page_on_providers_names_everything_that_a_provider_declares() -> None:
    text = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    named = [name for row in re.findall(r"(?m)^\| (`.*?) \| ", text) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(field.name for field in dataclasses.fields(Provider))


def test_the_page_on_providers_has_a_row_for_each_signature_that_does_not_cover_the_body() -> None:
    text = (
        (ROOT / "docs" / "providers.md").read_text(encoding="utf-8").partition("| source of |")[2].partition("\n\n")[0]
    )
    rows = dict(re.findall(r"(?m)^\| ([^|]+) \| .* \| (\d+) \|$", text))
    weak = {each.title: str(each.signatures.usual_bodies) for each in catalogue().values() if each.signatures}
    said = {title: rows[name] for title in weak for name in rows if name in title}
    assert (said, len(rows)) == (weak, len(weak))
