"""What `hookline status` shows of the processes on this machine."""

from collections.abc import Iterator, Sequence

from hookline.admin.visit import SILENT, OnPort
from hookline.cli import tables
from hookline.cli.age import age_text
from hookline.doctor.processes import faults_of
from hookline.schemas.process_states import BlockedState, HeldBackState, ProcessState, WorkerState

COLUMNS = (("port", "role", "pid", "ready"), ("worker",), ("running", "oldest call", "unsettled"))
_NUMBERS = frozenset({"port", "pid", "running", "oldest call", "unsettled"})
_SLOW_S = 1.0
_LONG_S = 60.0
_BLOCKED_SHARE = 0.1


def show_processes(found: Sequence[OnPort]) -> None:
    """Print a table with a row for each worker of each process."""
    rows = [row for each in found for row in _rows(each)]
    tables.show(COLUMNS, rows, numbers=_NUMBERS, style=lambda row: "" if row[3] == "yes" else "red")


def process_hints(found: Sequence[OnPort]) -> list[str]:
    """What to do about them."""
    hints = [f"port {each.port}: {_remedy(each.fault)}" for each in found if each.fault]
    for each in found:
        for process in each.processes:
            hints += _hints(process)
    return hints


def _rows(found: OnPort) -> Iterator[tuple[str, ...]]:
    if found.fault:
        yield (str(found.port), "", "", "no answer" if found.fault == SILENT else "not known", "", "", "", "")
    for process in found.processes:
        head = (str(found.port), process.role, str(process.pid), "yes" if process.ready else "no")
        for worker in process.workers:
            yield (*head, *_columns(worker))
        if not process.workers:
            yield (*head, "", "", "", "")


def _columns(worker: WorkerState) -> tuple[str, ...]:
    oldest = "" if worker.oldest_call is None else age_text(worker.oldest_call.seconds)
    return worker.queue, f"{worker.running}/{worker.concurrency}", oldest, str(worker.unsettled)


def _remedy(fault: str) -> str:
    if fault != SILENT:
        return f"{fault}: it has other settings than this command"
    return (
        "what listens there does not answer within 2 s; if it is a process of Hookline, a line of a worker blocks it: "
        "its log says which"
    )


def _hints(process: ProcessState) -> Iterator[str]:
    who = f"{process.role} {process.pid}"
    yield from faults_of(process)
    if process.blocked is not None and process.blocked.share >= _BLOCKED_SHARE:
        yield _blocked_hint(process.blocked, who)
    for worker in process.workers:
        yield from _worker_hints(worker, who)


def _blocked_hint(blocked: BlockedState, who: str) -> str:
    took = f"for {blocked.share:.0%} of the last minute"
    if not blocked.line:
        return f"{who}: it could not run {took}: has this machine enough CPU?"
    return (
        f"{who}: {blocked.line} blocks it, {took}, and nothing else runs meanwhile: await what that line waits for, "
        "or call it with `await asyncio.to_thread(…)`"
    )


def _is_full(worker: WorkerState) -> bool:
    return worker.running >= worker.concurrency and worker.unsettled > worker.running


def _held_back_hint(queue: str, held: HeldBackState, who: str) -> str:
    """What an ordered worker tries again waits in its process, and is not in the column of the queue."""
    return (
        f"{queue}: subjects (rooms, say) are held back in {who} by events that failed ({held.subjects}, with "
        f"{held.events} events behind), the longest for {age_text(held.seconds)} by event {held.event_id}: "
        "`hookline events --id` shows it, and the log of that process why it failed"
    )


def _worker_hints(worker: WorkerState, who: str) -> Iterator[str]:
    if worker.held_back is not None:
        yield _held_back_hint(worker.queue, worker.held_back, who)
    oldest = worker.oldest_call
    if oldest is None:
        return
    where = f" at {oldest.line}" if oldest.line else ""
    runs = f"the oldest for {age_text(oldest.seconds)}{where}, with event {oldest.event_id}"
    if worker.overdue:
        yield (
            f"{worker.queue}: calls run on after their time-out of {worker.timeout_s:g} s ({worker.overdue} in {who}), "
            f"{runs}: let asyncio.CancelledError pass there, and start that process again"
        )
    elif _is_full(worker) and oldest.seconds >= _SLOW_S:  # quick calls fill all places for moments
        yield (
            f"{worker.queue}: all {worker.concurrency} calls of {who} are running, {runs}, and others wait: find out "
            "why it is slow, raise `concurrency`, or start more processes"
        )
    elif oldest.seconds >= _LONG_S:
        yield f"{worker.queue}: calls are running in {who}, {runs}"
