"""Checks of the processes that run on this machine: what they themselves say that they lack."""

from collections.abc import Iterator, Mapping

from hookline.admin.visit import processes_here
from hookline.doctor.findings import Finding, fault
from hookline.runtime.installation import broker_name
from hookline.schemas.errors import SettingsError
from hookline.schemas.process_states import ProcessState
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


async def check_processes(settings: Settings) -> list[Finding]:
    """Faults of those that answer; those that do not are in `hookline status`."""
    try:
        found = await processes_here(settings.admin, broker_name(settings))
    except SettingsError:  # the check of the broker has said it
        return []
    return [fault("process", text) for port in found for process in port.processes for text in faults_of(process)]


def faults_of(process: ProcessState) -> Iterator[str]:
    """A sentence for each, with what to do."""
    who = f"{process.role} {process.pid}"
    for reason in process.reasons:
        yield f"{who} is not ready: {reason}"
    if process.broker_fault:
        yield f"{who}: {_BROKER_FAULTS.get(process.broker_fault, f'events are not taken: {process.broker_fault}')}"
