"""The calls of one worker's function that have not ended: how many, how old, and where the oldest waits."""

import asyncio
import time
from pathlib import Path
from typing import TypeAlias

from hookline.schemas.process_states import CallState
from hookline.workers.user_code import waiting_line
from hookline.workers.work import Case

_Task: TypeAlias = "asyncio.Task[None]"

OVERDUE_S = 5.0
"""How long a call may take to end after it was cancelled: it may have something to clean up."""


class RunningCalls:
    """A call that swallows its cancellation stays here until it ends, and has no time-out any more."""

    def __init__(self, timeout_s: float) -> None:
        self._overdue_s = timeout_s + OVERDUE_S
        self.by_case: dict[int, tuple[float, Case, _Task]] = {}
        """By the identity of the case, the first to begin first. The handler keeps it: a call of ours costs more."""

    def __len__(self) -> int:
        return len(self.by_case)

    @property
    def overdue(self) -> int:
        """How many run on although their time-out has ended."""
        latest_s = time.monotonic() - self._overdue_s
        return sum(started_s < latest_s for started_s, _, _ in self.by_case.values())

    @property
    def oldest_s(self) -> float:
        """How long the oldest call has run; 0 if there is none."""
        return next((time.monotonic() - started_s for started_s, _, _ in self.by_case.values()), 0.0)

    @property
    def oldest(self) -> CallState | None:
        """The oldest call, with the line at which it waits."""
        for started_s, case, task in self.by_case.values():
            line = waiting_line(task)
            return CallState(
                event_id=case.event.id,
                topic=case.envelope.topic,
                attempt=case.attempt,
                seconds=time.monotonic() - started_s,
                line="" if line is None else f"{Path(line.path).name}:{line.number}",
            )
        return None
