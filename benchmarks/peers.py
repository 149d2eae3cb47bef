"""The references as running programs."""

from benchmarks.processes import Door, free_port
from benchmarks.queues import REFERENCE_QUEUE
from benchmarks.run import Run

_MODULE = "benchmarks.references"


def bare(run: Run) -> Door:
    port = free_port()
    return Door("bare", [f"{_MODULE}.bare", str(port)], run.folder, port)


def obvious_ingress(run: Run) -> Door:
    return _ingress(run, "obvious_ingress")


def faststream_ingress(run: Run) -> Door:
    return _ingress(run, "faststream_ingress")


def _ingress(run: Run, module: str) -> Door:
    port = free_port()
    arguments = [f"{_MODULE}.{module}", str(port), run.servers.amqp_url, REFERENCE_QUEUE]
    return Door(module, arguments, run.folder, port)
