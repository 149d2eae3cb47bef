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


class HeldBackState(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects of an ordered worker, such as rooms, whose first event has failed and waits for its next attempt.

    `events` wait behind those. The event `event_id` failed first, so many `seconds` ago.
    """

    subjects: int
    events: int
    event_id: str
    seconds: float


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
    held_back: HeldBackState | None = None


class BlockedState(msgspec.Struct, frozen=True, kw_only=True):
    """A process whose event loop did not run for a share of the last minute. `line` blocked it last, if it is known."""

    share: float
    line: str = ""


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `broker` names the queue that it uses, so that two installations on a machine are told apart.

    `broker_fault` says why the queue takes no events of an ingress now, as a code such as `broker_alarm`: with a spool,
    they are kept there, and `spool_fault` says why that takes none. `blocked` is null if its event loop has run for the
    whole of the last minute, and where nobody watches that.
    """

    role: str
    pid: int
    version: str
    broker: str
    ready: bool
    reasons: Sequence[str] = ()
    workers: Sequence[WorkerState] = ()
    blocked: BlockedState | None = None
    broker_fault: str = ""
    spool_fault: str = ""
