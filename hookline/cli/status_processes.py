"""What `hookline status` shows of the processes on this machine."""

from collections.abc import Iterator, Sequence

from hookline.admin.visit import TOKEN_REFUSED, OnPort
from hookline.age import age_text
from hookline.cli import tables
from hookline.doctor.processes import faults_of, silence_of, slowness_of
from hookline.schemas.process_states import WorkerState

COLUMNS = (("port", "role", "pid", "ready"), ("worker",), ("running", "oldest call", "unsettled"))
_NUMBERS = frozenset({"port", "pid", "running", "oldest call", "unsettled"})


def show_processes(found: Sequence[OnPort]) -> None:
    """Print a table with a row for each worker of each process."""
    rows = [row for each in found for row in _rows(each)]
    tables.show(COLUMNS, rows, numbers=_NUMBERS, style=lambda row: "" if row[3] == "yes" else "red")


def process_hints(found: Sequence[OnPort]) -> list[str]:
    """What to do about them."""
    hints = [silence_of(each) for each in found if each.fault]
    for process in (process for each in found for process in each.processes):
        hints += [*faults_of(process), *slowness_of(process)]
    return hints


def _rows(found: OnPort) -> Iterator[tuple[str, ...]]:
    if found.fault:
        yield (str(found.port), "", "", "not known" if found.fault == TOKEN_REFUSED else "no answer", "", "", "", "")
    for process in found.processes:
        head = (str(found.port), process.role, str(process.pid), "yes" if process.ready else "no")
        for worker in process.workers:
            yield (*head, *_columns(worker))
        if not process.workers:
            yield (*head, "", "", "", "")


def _columns(worker: WorkerState) -> tuple[str, ...]:
    oldest = "" if worker.oldest_call is None else age_text(worker.oldest_call.seconds)
    return worker.queue, f"{worker.running}/{worker.concurrency}", oldest, str(worker.unsettled)
