"""Checks of the queues, on both brokers."""

from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.schemas.errors import HooklineError
from hookline.schemas.queue_states import QueueStates

LONELY = "nothing consumes it: start its worker, or if it runs, see why its process is not ready"
"""It may lack RabbitMQ; an ordered worker gives its partitions back while its store is slow or away."""


async def check_queues(states: QueueStates) -> list[Finding]:
    """What stands still: queues that nobody consumes, dead letters, unrouted events."""
    try:
        queues = await states.states(await states.names(), retrying=True)
        unrouted = await states.unrouted()
    except HooklineError as error:
        return [warning("queues", f"they cannot be looked at: {error}")]
    findings = [
        fault("queues", f"{each.waiting} events wait in {each.queue}, and {LONELY}")
        for each in queues
        if each.consumers == 0 and each.waiting
    ]
    findings += [
        warning(
            "queues", f"{each.queue} has events waiting ({each.waiting}) that no process takes: does its worker run?"
        )
        for each in queues
        if each.is_untouched
    ]
    findings += [
        warning(
            "queues",
            f"{each.queue} tries {each.retrying} again: `hookline retrying show {each.queue}` has the errors",
        )
        for each in queues
        if each.retrying
    ]
    findings += [
        warning("queues", f"{each.queue} has {each.dead} dead letters: `hookline dead list {each.queue}`")
        for each in queues
        if each.dead
    ]
    if unrouted:
        findings.append(warning("queues", f"{unrouted} events were wanted by no queue: `hookline unrouted list`"))
    noun = "queue" if len(queues) == 1 else "queues"
    return findings or [ok("queues", f"{len(queues)} {noun}, no dead letters, nothing unrouted")]
