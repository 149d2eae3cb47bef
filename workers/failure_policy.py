"""What becomes of a delivery whose function did not return: retried later, or parked as a dead letter."""

import traceback
from collections.abc import Mapping

from hookline.schemas.broker import Again, Outcome, Parked
from hookline.schemas.errors import Unreachable, Unreadable
from hookline.workers.api import YEAR_S, Backoff, Poisoned, Retry
from hookline.workers.user_code import described, shown, without_texts

BUSY_RETRY_S = 1.0
STORE_RETRY_S = 5.0
_MAX_DETAIL = 16_384


class ClaimUnavailable(Exception):
    """Another process is handling the event."""


class AlreadyParked(Exception):
    """The event has come to its end before, in a delivery that is repeated because of its other events."""

    def __init__(self, parked: Parked) -> None:
        super().__init__(parked.reason)
        self.parked = parked


class AlreadyTried(Exception):
    """The event was tried in this delivery before, by a process that died before it had passed a copy on."""


class ProcessDied(Exception):
    """The event crashed the process that handled it too often."""


class ExitCalled(Exception):
    """A worker's function tried to end the process."""


class RaisedNoException(Exception):
    """A worker's function raised what is not an Exception, as a library in Rust does when it panics."""


class CancelledItself(Exception):
    """A worker's function raised CancelledError, as something that it awaited was cancelled."""


class HandlerTimedOut(Exception):
    """A worker's function did not return within its time-out."""


_PARKING: Mapping[type[Exception], str] = {
    ProcessDied: "crashed",
    Poisoned: "poisoned",
    Unreadable: Unreadable.reason,
}


def failure_policy(
    error: Exception, retry: Backoff, attempt: int, age_s: float, chance: float, *, last: bool = False
) -> Outcome:
    """The outcome of a delivery that ended in an error.

    `age_s` counts from when the event was received or replayed. `chance`, from 0 to 1, picks the delay within the
    jitter. An event that is too old is not tried again, unless it was never tried; nor is one after its `last` attempt.
    """
    match error:
        case ClaimUnavailable() | AlreadyTried():
            tried_s = retry.delay_s(max(1, attempt - 1), chance) if isinstance(error, AlreadyTried) else None
            return Again(tried_s or BUSY_RETRY_S, attempt, "busy")
        case AlreadyParked():
            return error.parked
        case Unreachable():
            return Again(STORE_RETRY_S, attempt, error.reason)
        case Retry() if _asks_for_time(error) and age_s < retry.max_age_s and not last:
            return Again(float(error.after_s), attempt, "retry")
        case ProcessDied() | Poisoned() | Unreadable():
            reason = next(reason for kind, reason in _PARKING.items() if isinstance(error, kind))
            return Parked(reason, _text(error), attempt)
        case _:
            return _failed(error, retry, attempt, age_s, chance, last=last)


def _failed(error: Exception, retry: Backoff, attempt: int, age_s: float, chance: float, *, last: bool) -> Outcome:
    is_retry = isinstance(error, Retry) and _asks_for_time(error)
    reason = "timeout" if isinstance(error, HandlerTimedOut) else "retry" if is_retry else "failed"
    delay_s = None if last else retry.delay_s(attempt, chance)
    if delay_s is not None and age_s < retry.max_age_s:
        return Again(delay_s, attempt + 1, reason, described(error), _traceback(error))
    return Parked("too_old" if delay_s is not None else reason, _traceback(error), attempt)


def _asks_for_time(error: Retry) -> bool:
    """Whether a retry has a time: a subclass of the user's may have set none, or one that `Retry` would refuse."""
    after_s = getattr(error, "after_s", None)
    return isinstance(after_s, int | float) and abs(after_s) <= YEAR_S


def _text(error: Exception) -> str:
    """The end of an error's text."""
    return shown(error, str)[-_MAX_DETAIL:]


def kept_error(error: Exception, *, with_texts: bool) -> str:
    """What is stored of an error with the message that waits for its next attempt."""
    return _traceback(error) if with_texts else shown(error, without_texts)


def _traceback(error: Exception) -> str:
    return shown(error, lambda each: "".join(traceback.format_exception(each)))[-_MAX_DETAIL:]
