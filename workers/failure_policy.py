"""What becomes of a delivery whose function did not return: again later, or kept among the dead letters."""

import traceback
from collections.abc import Mapping
from pathlib import Path

from hookline.schemas.broker import Again, Outcome, Parked
from hookline.schemas.errors import Unreachable, Unreadable
from hookline.workers.api import Backoff, Poisoned, Retry

BUSY_RETRY_S = 1.0
STORE_RETRY_S = 5.0
_MAX_DETAIL = 16_384


class ClaimUnavailable(Exception):
    """Another process has the event in hand."""


class ProcessDied(Exception):
    """An event has killed the process that handled it, too often."""


class HandlerTimedOut(Exception):
    """A worker's function did not return within its time limit."""


_PARKING: Mapping[type[Exception], str] = {
    ProcessDied: "crashed",
    Poisoned: "poisoned",
    Unreadable: Unreadable.reason,
}


def failure_policy(
    error: Exception, retry: Backoff, attempt: int, age_s: float, chance: float, *, last: bool = False
) -> Outcome:
    """The outcome of an error.

    `age_s` is how long ago the event was received, or replayed; `chance`, from 0 to 1, where in the jitter the delay
    lies. An event that is too old is not tried again, unless it never had its turn; nor is one that had its `last`.
    """
    match error:
        case ClaimUnavailable():
            return Again(BUSY_RETRY_S, attempt, "busy")
        case Unreachable():
            return Again(STORE_RETRY_S, attempt, error.reason)
        case Retry() if age_s < retry.max_age_s and not last:
            return Again(error.after_s, attempt, "retry")
        case ProcessDied() | Poisoned() | Unreadable():
            return Parked(_PARKING[type(error)], str(error), attempt)
        case _:
            return _failed(error, retry, attempt, age_s, chance, last=last)


def _failed(error: Exception, retry: Backoff, attempt: int, age_s: float, chance: float, *, last: bool) -> Outcome:
    reason = "timeout" if isinstance(error, HandlerTimedOut) else "retry" if isinstance(error, Retry) else "failed"
    delay_s = None if last else retry.delay_s(attempt, chance)
    if delay_s is not None and age_s < retry.max_age_s:
        return Again(delay_s, attempt + 1, reason, _place(error))
    detail = "".join(traceback.format_exception(error))
    return Parked("too_old" if delay_s is not None else reason, detail[-_MAX_DETAIL:], attempt)


def _place(error: Exception) -> str:
    """The kind of an error and where it was raised, for logs: its text may quote a payload."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
