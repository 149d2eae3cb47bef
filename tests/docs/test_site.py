"""The site builds without a warning, has every public name, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.reference_pages import PUBLIC, public_names
from docs.site_pages import pages
from tests.docs.pages import DOCS, ROOT

BUILD = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-b", "html", "."]
_LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*\s(?:src|href)=\"(\w+:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it: every link and anchor within it is followed, and each warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([*BUILD, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def html(site: Path) -> dict[str, str]:
    return {str(page.relative_to(site)): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}


@pytest.mark.timeout(600)
def test_the_site_has_every_page_and_begins_at_its_top(html: dict[str, str]) -> None:
    sources = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    wanted = {str(page.relative_to(ROOT).with_suffix(".html")) for page in sources if "examples" not in page.parts}
    assert wanted <= set(html)
    assert 'url=docs/index.html"' in html["index.html"]


@pytest.mark.timeout(600)
def test_every_public_name_is_in_the_api_reference(html: dict[str, str]) -> None:
    page = html["docs/reference/api.html"]
    names = [f"{module}.{name}" for module in PUBLIC for name in public_names(module)]
    assert len(names) > 100
    assert [name for name in names if f'id="{name}"' not in page] == []


@pytest.mark.timeout(600)
def test_the_site_loads_nothing_from_elsewhere(html: dict[str, str]) -> None:
    assert {name: found for name, text in html.items() if (found := _LOADED.findall(text))} == {}
    assert _LOADED.search('<script async="async" src="https://cdn.example.com/x.js">')


def test_what_the_site_has_from_the_code_is_current() -> None:
    assert [page.name for page, text in pages() if not page.exists() or page.read_text("utf-8") != text] == [], (
        "run `make tables`"
    )


def test_ci_builds_the_site_as_make_docs_does() -> None:
    """Both name the same options; the CPU that it takes, about eleven seconds, is within what CI may spend on it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (made,) = re.findall(r"(?m)^SPHINX = \$\(BIN\)/python (.*)$", makefile)
    assert set(BUILD[1:-3]) <= set(made.split())


def test_a_list_of_contents_names_every_section() -> None:
    for page in DOCS:
        text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
        listed = re.findall(r"(?m)^- \[[^\]]+\]\(#([\w-]+)\)$", text)
        sections = [
            re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"(?m)^## (.*)$", text)
        ]
        assert listed in ([], sections), page.name
