"""What a running process says of itself: whether it can do its work, and what its workers are doing."""

from collections.abc import Sequence

import msgspec


class CallState(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a worker's function that has not ended. `line` is where it waits in the team's code, if it is known."""

    event_id: str
    topic: str
    attempt: int
    seconds: float
    line: str = ""


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """A worker in one process.

    `running` counts the calls of its function, of which `overdue` run on although their time-out has ended. `unsettled`
    counts the messages that the process has of the broker and has not settled: those that are handled, and those that
    wait in it.
    """

    queue: str
    concurrency: int
    timeout_s: float
    running: int
    overdue: int
    unsettled: int
    oldest_call: CallState | None


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `broker` names the queue that it uses, so that two installations on a machine are told apart."""

    role: str
    pid: int
    version: str
    broker: str
    ready: bool
    reasons: Sequence[str] = ()
    workers: Sequence[WorkerState] = ()
