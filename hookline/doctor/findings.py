"""What a check has found: one line each."""

from typing import Literal, TypeAlias

import msgspec

Level: TypeAlias = Literal["ok", "warning", "fault"]


class Finding(msgspec.Struct, frozen=True):
    """`text` is one sentence. That of a fault or a warning says what to do."""

    level: Level
    part: str
    text: str


def ok(part: str, text: str) -> Finding:
    return Finding("ok", part, text)


def warning(part: str, text: str) -> Finding:
    return Finding("warning", part, text)


def fault(part: str, text: str) -> Finding:
    return Finding("fault", part, text)
