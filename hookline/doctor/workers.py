"""Checks of the workers' files."""

from collections.abc import Iterator, Sequence
from typing import Any

from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.runtime.unsent_topics import unsent_topics
from hookline.runtime.worker_files import BUILT_IN, find_workers, two_workers
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings
from hookline.workers.api import Worker

_CAN_COMMIT = ("sqlite:", "postgresql://", "postgres://")


def check_workers(names: Sequence[str], settings: Settings) -> tuple[Sequence[Worker[Any]], list[Finding]]:
    """The workers in these files and modules. Each file is looked at by itself, so that one hides no other's fault."""
    findings, found = list[Finding](), list[Worker[Any]]()
    for name in (name for name in names if name != BUILT_IN):
        try:
            workers = find_workers([name])
        except SettingsError as error:
            findings.append(fault("workers", str(error)))
        else:
            found += workers
            findings += [finding for worker in workers for finding in _of_worker(name, worker, settings)]
    seen: set[str] = set()
    for worker in found:
        if worker.queue in seen:
            findings.append(fault("workers", two_workers(worker.queue)))
        seen.add(worker.queue)
    return found, findings


def _of_worker(name: str, worker: Worker[Any], settings: Settings) -> Iterator[Finding]:
    yield ok("workers", f"{name}: {worker.queue} handles {', '.join(p.removeprefix('*.*.') for p in worker.patterns)}")
    if worker.transactional and not settings.store.url.startswith(_CAN_COMMIT):
        yield fault("workers", f"{name}: {worker.queue} is transactional: store.url must be PostgreSQL or SQLite")
    for text in unsent_topics(worker, settings):
        yield warning("workers", f"{name}: {text}")
