"""One line of attempts and one end for each event in each queue, however many copies of the event the queue holds.

There are several after a settlement was lost: the worker has passed a copy on, as a retry or a dead letter, and the
message itself is delivered again. There are also several after a provider's repeat. The store counts the attempts of
all of them together. It notes an attempt before a copy is passed on: if the process dies meanwhile, the message is not
tried again, and only the copy is made. It then notes the number of the copy that is durable; older ones are surplus.

A replay starts anew. Its number differs in the upper bits, which stand for the series of attempts.
"""

import zlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hookline.schemas.broker import Outcome, Parked
from hookline.schemas.copies import MAX_COPY, copy_of
from hookline.schemas.dead_letters import PARKED_AT, REPLAYED_AT, REPLAYS
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.store import Acquired

_MAX_REMEMBERED = 10_000
_SERIES_BIT = 20
_DEAD = (1 << _SERIES_BIT) - 1
_ENDED = 1_000_000  # more failures than any event may have
_REASONS = ("failed", "timeout", "retry", "too_old", "poisoned", "crashed", "unwanted")


def copy_number(headers: Mapping[str, Any]) -> int:
    """The number of a delivery as the store notes it."""
    return (zlib.crc32(_series(headers).encode()) << _SERIES_BIT) + copy_of(headers)


def copy_in(number: int) -> int:
    """The number of the copy without its series."""
    return number & _DEAD


def passed_on(number: int, outcome: Outcome) -> int:
    """The number to note once what becomes of a delivery is durable. After a dead letter all of its series are less."""
    return number | _DEAD if isinstance(outcome, Parked) else next_number(number)


def next_number(number: int) -> int:
    """The number of the copy that is made of a delivery."""
    return number + (copy_in(number) < MAX_COPY)


def _series(headers: Mapping[str, Any]) -> str:
    """Empty until the event is replayed, also by hand: then a dead letter is moved with what says why it was parked."""
    replays = headers.get(REPLAYS)
    again = headers.get(REPLAYED_AT, "") if replays is None else "" if replays == "0" else replays
    return f"{again}{headers.get(PARKED_AT, '')}"


def is_surplus(number: int, noted: int) -> bool:
    """Whether a copy of the delivery is surely in the queue, or has ended, or the event has been replayed since."""
    if _is_same_series(number, noted):
        return number < noted
    return number >> _SERIES_BIT == 0


def was_tried(number: int, tried: int) -> bool:
    """Whether the attempt of a delivery was noted. What is left to do is to pass its copy on."""
    return number < tried and _is_same_series(number, tried)


def starts_anew(number: int, noted: int) -> bool:
    """Whether what the store has counted belongs to an earlier series of attempts."""
    return not _is_same_series(number, noted)


def _is_same_series(number: int, noted: int) -> bool:
    return number >> _SERIES_BIT == noted >> _SERIES_BIT


def end_mark(parked: Parked) -> int:
    """What is added to the failures of an event that is parked: it stays so until it is replayed."""
    return _ENDED * (1 + (_REASONS.index(parked.reason) if parked.reason in _REASONS else 0))


def used_attempts(failures: int) -> int:
    """The attempts that the store has counted, without the mark of an end."""
    return failures % _ENDED


def has_ended(failures: int) -> bool:
    """Whether the store has counted the end of an event that was parked."""
    return failures >= _ENDED


def noted_end(claim: Acquired, attempt: int) -> Parked | None:
    """The end of an event that was parked, as the store knows it. `attempt` is that of the delivery."""
    if not has_ended(claim.failures):
        return None
    reason = _REASONS[min(claim.failures // _ENDED, len(_REASONS)) - 1]
    attempts = max(attempt, used_attempts(claim.failures))
    return Parked(reason, "another process of the queue has parked it", attempts)


class Ends:
    """Events that were parked and are not settled yet, with the details that no store has.

    An event is settled late where others of its delivery are still retried, or where the broker does not take it.
    """

    def __init__(self) -> None:
        self._parked: BoundedDict[str, Parked] = BoundedDict(_MAX_REMEMBERED)

    def note(self, key: str, parked: Parked) -> None:
        """Remember it until the delivery is settled. The oldest is forgotten when there are very many."""
        self._parked.note(key, parked)

    def noted(self, key: str, claim: Acquired, attempt: int) -> Parked | None:
        """As `noted_end`, with the details if the event was parked here."""
        parked = noted_end(claim, attempt)
        if parked is not None and key not in self._parked:
            self.note(key, parked)
        return None if parked is None else replace(self._parked[key], is_known=True)

    def forget(self, key: str) -> None:
        self._parked.pop(key, None)
