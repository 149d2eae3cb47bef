"""The pages that people read, and the blocks in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
DOCS = sorted(page for page in (ROOT / "docs").rglob("*.md") if "examples" not in page.parts)
PAGES = (README, ROOT / "CONTRIBUTING.md", *DOCS)

_BLOCK = re.compile(
    r"(?:<!-- (?P<marker>[^>]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A fenced block. `marker` is the comment right above it, such as `tour`."""

    page: str
    number: int
    language: str
    marker: str
    text: str

    def __str__(self) -> str:
        return f"{self.page} block {self.number}"


def blocks(page: Path) -> Iterator[Block]:
    for number, found in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8")), 1):
        yield Block(str(page.relative_to(ROOT)), number, found["language"], found["marker"] or "", found["text"])


def all_blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]
