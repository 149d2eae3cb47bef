"""`make help` lists every target, and says something of each."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_make_help_lists_every_target_with_its_purpose() -> None:
    phony = re.findall(r"(?m)^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"))
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)  # noqa: S607
    listed = dict(re.findall(r"(?m)^make (\S+) +(\S.*)$", done.stdout))
    assert sorted(listed) == sorted(" ".join(phony).split())
