"""A team's own package of a name that is also a folder of Hookline."""

from pathlib import Path


def append(file: str, line: str) -> None:
    with Path(file).open("a", encoding="utf-8") as opened:
        opened.write(line)
