"""Steps that wait for a transaction, with those who wait for their answers."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item
SharedStep = Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]]
"""What is done for several callers at once, with one item each. Returns an answer, or an error to raise, for each."""


@dataclass(slots=True, eq=False)
class Share:
    """The items of one caller, or of one turn of the event loop, and the future for their answers.

    `sizes` says how many bytes each item adds to the file, where that may be many. A single caller's future gets the
    answer to its item, and any other a sequence of answers.
    """

    items: list[Any]
    sizes: list[int]
    future: "asyncio.Future[Any]"
    is_single: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """All shares that wait for one step. The answers are what the step returned for their items, or what was raised."""

    step: SharedStep[Any, Any]
    shares: list[Share]
    is_durable: bool = False
    answers: Sequence[Any] = ()

    def add_all(self, other: "Batch") -> None:
        """Take the shares of another batch of the same step."""
        self.shares += other.shares
        self.is_durable |= other.is_durable

    @property
    def count(self) -> int:
        """How many items it has."""
        return sum(len(share.items) for share in self.shares)

    @property
    def items(self) -> Sequence[Any]:
        if len(self.shares) == 1:  # as mostly
            return self.shares[0].items
        return [item for share in self.shares for item in share.items]

    def singly(self) -> "list[Batch]":
        """A batch for each item, to find its answer."""
        return [
            Batch(self.step, [Share([item], [size], share.future)], self.is_durable)
            for share in self.shares
            for item, size in zip_longest(share.items, share.sizes, fillvalue=0)
        ]
