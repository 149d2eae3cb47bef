"""The guide shows the examples as they are, and all of them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "writing-workers.md"
EXAMPLES = ROOT / "docs" / "examples"

_INCLUDED = re.compile(r"<!-- examples/(?P<name>\S+) -->\n```\w+\n(?P<text>.*?)```\n", re.DOTALL)


def included() -> dict[str, str]:
    return {match["name"]: match["text"] for match in _INCLUDED.finditer(GUIDE.read_text(encoding="utf-8"))}


def test_every_example_stands_in_the_guide_as_it_is() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES.iterdir() if path.is_file()}
    assert included() == files


def test_links_of_the_guide_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", GUIDE.read_text(encoding="utf-8"))
    assert [link for link in links if not (GUIDE.parent / link).exists()] == []
