"""The copies of a message that workers pass on, as a retry or as a dead letter, each with the next number.

A number tells a copy from the message that it was made of, should that be delivered again. The broker carries the
number, and only the worker reads it.
"""

import re
from collections.abc import Mapping
from typing import Any

COPY = "hookline-copy"
MAX_COPY = 999_999
"""The number of all further copies, should there be as many."""
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


def copy_of(headers: Mapping[str, Any]) -> int:
    """The number of a message: how many copies were made before it. It is 0 for one that was never passed on."""
    text = headers.get(COPY)
    return int(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else 0


def as_next_copy(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a copy of the message."""
    return as_copy(headers, copy_of(headers) + 1)


def as_copy(headers: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The headers of the copy with this number. The message that was never passed on has 0."""
    return {**headers, COPY: str(min(number, MAX_COPY))} if number else {**headers}
