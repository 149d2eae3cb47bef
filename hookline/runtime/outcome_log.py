"""Logs how deliveries ended: a line for each up to a limit, and the totals of each queue at the end."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby
from types import MappingProxyType
from typing import Any

from hookline.schemas.broker import Again, Done, Outcome, Parked
from hookline.schemas.envelope import TRACE_HEADER, trace_of
from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.settings_sections import LogErrors
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.work import Work

log = logging.getLogger("hookline")
events_log = logging.getLogger("hookline.events")

# Identifiers say which event it was. Free text and long values stay out of the log.
_SHOWN = (
    "room_id", "user_id", "role", "reason", "duration_s", "platform", "operator_id", "owner_id", "caller_id",
    "callee_ids", "media", "task_id", "segment", "directory", "file_name",
)  # fmt: skip
_TRACEBACK_EVERY_S = 60.0
_MAX_PLACES = 1000
_NO_FAULT = frozenset({"busy", "retry", "unwanted"})


class OutcomeLog:
    """Counts every delivery under its outcome, and a late one under `late` as well.

    A delivery that went wrong always has its own line. Of those that went well, `log_events_per_s` have a line in each
    second. The others of that second are summed up in one line for each queue, or not logged if the limit is 0.
    `log_errors` is how much of an error in a worker's function is logged. A `full` traceback is logged at the first
    error of its kind at its line, and then once a minute. `clock` returns seconds that never go back.
    """

    def __init__(
        self, log_events_per_s: int, log_errors: LogErrors = "place", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log_events_per_s = log_events_per_s
        self._log_errors = log_errors
        self._clock = clock
        self._tracebacks = BoundedDict[tuple[str, str], float](_MAX_PLACES)
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._unlisted: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._lines_left = 0  # in this second, for deliveries that went well
        self._second_ends_s = 0.0

    @property
    def has_error_texts(self) -> bool:
        """Whether the texts of errors may leave the process."""
        return self._log_errors != "place"

    def report(self, queue: str, settled: Sequence[tuple[Work, float]]) -> None:
        """Count settled deliveries, and log those that the limit allows."""
        counts, are_good = _counted([work for work, _ in settled])
        self._counts[queue].update(counts)
        if not self._log_events_per_s and are_good:
            return
        self._count_seconds()
        if not self._lines_left and are_good:
            self._leave_out(queue, counts)
        else:
            self._list(queue, settled)

    def _list(self, queue: str, settled: Sequence[tuple[Work, float]]) -> None:
        """Log deliveries as long as lines are left, and in any case what went wrong."""
        unlisted = []
        for work, seconds in settled:
            good = is_good(work.outcome)
            if good and not self._lines_left:
                unlisted.append(work)
            else:
                self._lines_left -= good
                log_delivery(queue, work, seconds, self._error(queue, work.outcome))
        if unlisted and self._log_events_per_s:
            self._leave_out(queue, _counted(unlisted)[0])

    def _error(self, queue: str, outcome: Outcome) -> Mapping[str, str]:
        """What is logged of an error beside its type and place."""
        error = _error_of(outcome)
        if not error or self._log_errors == "place":
            return {}
        text = _text(error)
        if self._log_errors == "text" or text == error or not self._is_new(queue, error):
            return {"error": text}
        return {"error": text, "traceback": error}

    def _is_new(self, queue: str, error: str) -> bool:
        """Whether the last traceback of this kind is a minute ago. The kind is all of it but the error's text."""
        kind, now_s = (queue, error.rpartition("\n  File ")[2].partition(":")[0]), self._clock()
        if now_s < self._tracebacks.get(kind, now_s):
            return False
        self._tracebacks.note(kind, now_s + _TRACEBACK_EVERY_S)
        return True

    def log_totals(self) -> None:
        """Log one line for each queue that had deliveries."""
        self._log_unlisted()
        for queue, counts in self._counts.items():
            log.info("%s: %s", queue, _sum(counts))

    def _count_seconds(self) -> None:
        """Allow new lines if another second has begun."""
        now_s = self._clock()
        if now_s >= self._second_ends_s:
            self._second_ends_s, self._lines_left = now_s + 1, self._log_events_per_s

    def _leave_out(self, queue: str, counts: Counter[str]) -> None:
        if not self._unlisted:
            asyncio.get_running_loop().call_later(self._second_ends_s - self._clock(), self._log_unlisted)
        self._unlisted[queue].update(counts)

    def _log_unlisted(self) -> None:
        for queue, counts in self._unlisted.items():
            _log(logging.INFO, f"{queue}: not listed: {_sum(counts)}", {"queue": queue, "unlisted": counts})
        self._unlisted.clear()


def _counted(works: Sequence[Work]) -> tuple[Counter[str], bool]:
    """How many works have each outcome and are late, and whether all went well."""
    counts, are_good = Counter[str](), True
    for outcome, same in groupby([work.outcome for work in works]):  # nearly all are the same
        counts[f"again ({outcome.reason})" if isinstance(outcome, Again) else outcome.reason] += len(list(same))
        are_good &= is_good(outcome)
    if late := [work for work in works if work.late]:
        counts["late"] += len(late)
    return counts, are_good


def _sum(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def is_good(outcome: Outcome) -> bool:
    """Whether the delivery is done, or comes again without a fault of the worker."""
    return isinstance(outcome, Done) or (isinstance(outcome, Again) and outcome.reason in _NO_FAULT)


def log_delivery(queue: str, work: Work, seconds: float, error: Mapping[str, str] = MappingProxyType({})) -> None:
    """Log one delivery. `error` adds the text and the traceback of an error to its facts."""
    level = logging.INFO if is_good(work.outcome) else logging.WARNING
    if events_log.isEnabledFor(level):
        facts = {**_facts(queue, work, seconds), **error}
        _log(level, facts["outcome"], facts)


def _error_of(outcome: Outcome) -> str:
    """The traceback or the reason of what failed, or an empty text."""
    match outcome:
        case Again(error=error):
            return error
        case Parked(detail=detail):
            return detail
        case Done():
            return ""


def _text(error: str) -> str:
    """The line of a traceback that has the type and text of the error."""
    lines = [line for line in error.splitlines() if line and not line.startswith((" ", "|", "+"))]
    return lines[-1] if lines else ""


def _log(level: int, text: str, facts: Mapping[str, Any]) -> None:
    """Log without searching for the line of code that logs, which costs time and is always this one."""
    if events_log.isEnabledFor(level):
        record = events_log.makeRecord(events_log.name, level, "", 0, text, (), None, extra={"facts": facts})
        events_log.handle(record)


def _facts(queue: str, work: Work, seconds: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"queue": queue, "attempt": work.received.attempt, "ms": round(seconds * 1000, 1)}
    match work.outcome:
        case Done(reason=reason):
            facts["outcome"] = reason
        case Again(delay_s=delay_s, reason=reason, detail=detail):
            facts |= {"outcome": "again", "reason": reason, "detail": detail, "in_s": delay_s}
        case Parked(reason=reason):
            facts |= {"outcome": "parked", "reason": reason}
    if work.envelope is not None:
        envelope = work.envelope
        facts |= {"topic": envelope.topic, "subject": envelope.subject, "id": envelope.id}
        facts["source"] = envelope.source
    if (trace := trace_of(str(work.received.headers.get(TRACE_HEADER, "")))) is not None:
        facts["trace_id"] = trace.trace_id
    if work.late:
        facts["late"] = True
    facts["events"] = [_shown(event) for event in work.events]
    return facts


def _shown(event: CanonicalEvent) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in _shown_of(type(event))}
    return {"type": event_topic(event), **{name: value for name, value in fields.items() if value is not None}}


@cache
def _shown_of(kind: type[CanonicalEvent]) -> tuple[str, ...]:
    return tuple(name for name in _SHOWN if name in kind.__struct_fields__)
