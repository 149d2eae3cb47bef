"""The provider from outside that README shows."""

import re
from pathlib import Path

from docs.readme_tables import README

_IN_README = re.compile(r"<!-- provider acme_rtc/hookline\.py -->\n```python\n(.*?)```", re.DOTALL)


def example_provider() -> str:
    """The text of the module."""
    (shown,) = _IN_README.findall(README.read_text(encoding="utf-8"))
    return str(shown)


def write_example(folder: Path) -> str:
    """Write the module as the package `acme_rtc` into a folder. Returns what the settings call it."""
    package = folder / "acme_rtc"
    package.mkdir()
    (package / "hookline.py").write_text(example_provider())
    return "acme_rtc.hookline:PROVIDER"
