"""Checks of the processes that run on this machine: what they themselves say that they lack."""

from collections.abc import Iterator, Mapping

from hookline.admin.visit import CLOSED, SILENT, OnPort, processes_here
from hookline.age import age_text
from hookline.doctor.findings import Finding, fault, warning
from hookline.runtime.installation import broker_name
from hookline.schemas.errors import SettingsError
from hookline.schemas.process_states import BlockedState, HeldBackState, ProcessState, WorkerState
from hookline.settings import Settings

_BROKER_FAULTS: Mapping[str, str] = {
    "broker_away": "it has no connection to RabbitMQ: is that running, and can this machine reach it?",
    "broker_alarm": (
        "RabbitMQ takes no events, because of an alarm of its memory or disk: `rabbitmqctl status` says which; "
        "free some, and the spool drains by itself"
    ),
    "broker_silent": "RabbitMQ does not confirm events: look at its disk and load, and whether most of its nodes run",
    "broker_topology": "RabbitMQ lacks what events are published to: `hookline topology apply` makes it",
    "queue_full": "a queue takes no more events, at its max-length or, if embedded, max_bytes: start its workers",
    "disk_full": "the disk of the queue is full: make room",
}

_SLOW_S = 1.0
_LONG_S = 60.0
_BLOCKED_SHARE = 0.1


async def check_processes(settings: Settings) -> list[Finding]:
    """What they lack, and what keeps their events waiting."""
    try:
        found = await processes_here(settings.admin, broker_name(settings))
    except SettingsError:  # the check of the broker has said it
        return []
    processes = [process for port in found for process in port.processes]
    return [
        *(fault("process", text) for process in processes for text in faults_of(process)),
        *(warning("process", silence_of(port)) for port in found if port.fault),
        *(warning("process", text) for process in processes for text in slowness_of(process)),
    ]


def silence_of(port: OnPort) -> str:
    """Why what listens there does not say what it is doing, with what to do."""
    if port.fault == CLOSED:
        return (
            f"port {port.port}: {port.fault}; if it is a process of Hookline, it has as many files open as it may: "
            "`ls -l /proc/PID/fd` shows which; raise `ulimit -n`, and start it again"
        )
    if port.fault != SILENT:
        return f"port {port.port}: {port.fault}: it has other settings than this command"
    return (
        f"port {port.port}: what listens there does not answer within 2 s; if it is a process of Hookline, a line of a "
        "worker blocks it and its log says which, or it is stopped (T in `ps`): end it, and others get its events"
    )


def faults_of(process: ProcessState) -> Iterator[str]:
    """A sentence for each, with what to do."""
    who = f"{process.role} {process.pid}"
    if process.reasons:  # often one cause has several, such as each queue of a worker
        yield f"{who} is not ready: {'; '.join(process.reasons)}"
    if process.broker_fault:
        yield f"{who}: {_BROKER_FAULTS.get(process.broker_fault, f'events are not taken: {process.broker_fault}')}"
    if process.spool_fault:
        yield f"{who}: its spool takes no events: {process.spool_fault}: what RabbitMQ does not take is answered 503"


def slowness_of(process: ProcessState) -> Iterator[str]:
    """A sentence for each thing that keeps its events waiting, with what to do."""
    who = f"{process.role} {process.pid}"
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
        waiting = worker.unsettled - worker.running
        yield (
            f"{worker.queue}: all {worker.concurrency} calls of {who} are running, {runs}, and others wait in it "
            f"({waiting}): find out why it is slow, raise `concurrency`, or start more processes"
        )
    elif oldest.seconds >= _LONG_S:
        yield f"{worker.queue}: calls are running in {who}, {runs}"
