"""Sphinx's settings for the site, which `make docs` builds.

Its source is the whole repository. Pages stay where they are, so their links work on the site as in the repository.
"""

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

project = "Hookline"
release = version_of("hookline")
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/**.md",
    "tests/vectors/README.md",
]
# Folders that hold no page, so that they are not searched.
exclude_patterns = [
    ".*",
    "benchmarks",
    "broker",
    "build",
    "deploy",
    "dist",
    "docs/examples",
    "hookline",
    "ingress",
    "schemas",
    "tests/[!v]*",
    "tests/vectors/*/**",
    "workers",
]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
default_role = "code"  # what stands in single backticks in docstrings

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"Hookline {release}"
html_extra_path = ["site"]  # the page at the top, which leads to docs/index.html
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

linkcheck_anchors = False  # many pages of providers are made by scripts
linkcheck_timeout = 20
linkcheck_ignore = [r"https?://([\w.-]+\.)?example\.(com|invalid)", r"http://127\.0\.0\.1"]


def without_links_to_folders(app: Any, name: str, source: list[str]) -> None:
    """Leave the text of a link to a folder of the repository, which has no page on the site."""
    here = Path(app.env.doc2path(name)).parent

    def text_of(link: re.Match[str]) -> str:
        return link[1] if (here / link[2]).is_dir() else link[0]

    source[0] = re.sub(r"\[([^]]+)\]\(([\w./-]+)\)", text_of, source[0])


def setup(app: Any) -> None:
    app.connect("source-read", without_links_to_folders)
