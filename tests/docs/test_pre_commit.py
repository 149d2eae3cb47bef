"""The pre-commit hooks run what `make check` runs, in the same order, and download nothing."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def make_check() -> list[str]:
    """The commands of `make check`, in the order in which it runs them."""
    recipe = re.search(r"(?m)^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert recipe is not None
    return [line.strip().lstrip("@").replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]


def test_the_hooks_are_the_commands_of_make_check() -> None:
    assert re.findall(r"(?m)^ +entry: (.+)$", HOOKS) == make_check()


def test_every_hook_is_local_and_looks_at_the_whole_tree() -> None:
    hooks = HOOKS.count("- id: ")
    assert re.findall(r"- repo: (\S+)", HOOKS) == ["local"]
    assert HOOKS.count("language: system") == hooks
    assert HOOKS.count("pass_filenames: false") == hooks
    assert HOOKS.count("always_run: true") == hooks
