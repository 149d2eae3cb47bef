"""The guide shows the examples as they are, and all of them; and what pages name is there."""

import re
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS, ROWS

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "writing-workers.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
EXAMPLES = ROOT / "docs" / "examples"

_INCLUDED = re.compile(r"<!-- examples/(?P<name>\S+) -->\n```\w+\n(?P<text>.*?)```\n", re.DOTALL)


def included() -> dict[str, str]:
    return {match["name"]: match["text"] for match in _INCLUDED.finditer(GUIDE.read_text(encoding="utf-8"))}


def test_every_example_stands_in_the_guide_as_it_is() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES.iterdir() if path.is_file()}
    assert included() == files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.*)$", text)}
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    anchors = [link[1:] for link in links if link.startswith("#")]
    files = [link.partition("#")[0] for link in links if not link.startswith("#")]
    assert [anchor for anchor in anchors if anchor not in headings] == []
    assert [name for name in files if not (page.parent / name).exists()] == []


def test_rows_that_the_page_on_performance_names_can_be_measured() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    commands = re.findall(r"python -m benchmarks ([^`#\n]*)", text)
    words = [word for command in commands for word in re.sub(r"--\w+ \d+|>.*|--\w+", "", command).split()]
    assert words
    assert set(words) <= {*ROWS, *GROUPS}
