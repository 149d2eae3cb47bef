"""Reads what the handlers recorded: the calls of each worker, and the rows of the transactional one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.events import Key
from tests.chaos.history import Call
from tests.chaos.workers import transactional


class Records:
    """Follows the files of a folder. `calls` has every call so far, by its id."""

    def __init__(self, folder: Path) -> None:
        self.calls: dict[str, Call] = {}
        self._folder = folder
        self._offsets: dict[Path, int] = {}

    def read(self) -> None:
        """Take in what was written since."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                whole_lines, newline, _ = file.read().rpartition(b"\n")
            self._offsets[path] = self._offsets.get(path, 0) + len(whole_lines) + len(newline)
            for line in whole_lines.splitlines():
                self._add(json.loads(line))

    def _add(self, line: dict[str, Any]) -> None:
        identity, at = line["call"], line["at"]
        match line["what"]:
            case "begin":
                key = Key(line["room"], line["number"])
                self.calls[identity] = Call(line["worker"], key, line["pid"], line["attempt"], at)
            case "end":
                self.calls[identity] = replace(self.calls[identity], ended_at=at)
            case _:
                self.calls[identity] = replace(self.calls[identity], cancelled_at=at)


def make_table(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(transactional.TABLE)


def rows(url: str) -> list[Call]:
    """The committed calls of the transactional worker."""
    with psycopg.connect(url, connect_timeout=10) as connection:
        found = connection.execute("SELECT room, number, pid, attempt, at FROM chaos_rows").fetchall()
    return [
        Call("transactional", Key(room, number), pid, attempt, at, ended_at=at)
        for room, number, pid, attempt, at in found
    ]
