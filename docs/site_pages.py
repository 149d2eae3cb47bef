"""Writes what the site has from the code: `python -m docs.site_pages`. With `--check` it only compares.

The reference, the picture of the way of an event, and the parts of the pages on going live.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from docs import going_live, picture, reference_pages
from docs.markdown import with_block
from hookline.schemas.providers import catalogue

DOCS = Path(__file__).resolve().parent
OVERVIEW = DOCS / "going-live.md"


def pages() -> Iterator[tuple[Path, str]]:
    """Each file, with the text that it should have. Of a page on going live that is there, only parts are written."""
    yield from ((DOCS / "reference" / name, f"{make().rstrip()}\n") for name, make in reference_pages.PAGES.items())
    yield DOCS / "images" / "event.svg", picture.svg()
    yield OVERVIEW, with_block(OVERVIEW.read_text("utf-8"), "overview", going_live.overview_block())
    yield from ((going_live.page_of(each), going_live.text_of(each)) for each in catalogue().values())


def main() -> int:
    outdated = [(page, text) for page, text in pages() if not page.exists() or page.read_text("utf-8") != text]
    for page, text in outdated:
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"{page.relative_to(DOCS.parent)} differs from the code; `make tables` writes it\n")
        else:
            page.write_text(text, "utf-8")
    return len(outdated) if "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
