"""All checks, in the order in which a newcomer's mistakes are mended."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.doctor.machine import (
    check_audit,
    check_certificate,
    check_clock,
    check_disk,
    check_files,
    check_ports,
    check_settings_file,
    check_sqlite,
)
from hookline.doctor.processes import check_processes
from hookline.doctor.store import check_server
from hookline.doctor.workers import check_workers
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.installation import is_rabbitmq, sqlite_path
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings, load
from hookline.workers.api import Worker

_SQLITE = "sqlite:"


def check_all(config: Path, workers: Sequence[str]) -> list[Finding]:
    """Everything that was found. Without settings that can be read there is no more to look at.

    The workers' files are imported outside an event loop, as they are at a start.
    """
    try:
        settings = load(config, with_sources=True)
    except SettingsError as error:
        return [fault("settings", str(error))]
    count = len(settings.sources)
    findings = [ok("settings", f"{config} has {count} source{'s' if count != 1 else ''}")]
    findings += [warning("settings", text) for text in settings.warnings]
    findings += check_settings_file(config)
    found, of_workers = check_workers(workers, settings)
    findings += of_workers
    findings += run_to_end(_check_servers(settings, found))
    for check in (check_disk, check_audit, check_certificate, check_ports, check_files):
        findings += check(settings)
    return [*findings, *check_clock()]


async def _check_servers(settings: Settings, workers: Sequence[Worker[Any]]) -> list[Finding]:
    """What was found of the broker and the store."""
    uses_rabbitmq = is_rabbitmq(settings.broker)
    if uses_rabbitmq:
        from hookline.doctor.broker import check_rabbitmq  # noqa: PLC0415  loaded only if used

        findings = await check_rabbitmq(settings, workers)
    else:
        findings = await _check_embedded(settings)
    if not settings.store.url.startswith(_SQLITE):
        findings += await check_server(settings)
    elif uses_rabbitmq:
        findings += check_sqlite(settings, "store", settings.store.url)
    return [*findings, *await check_processes(settings)]


async def _check_embedded(settings: Settings) -> list[Finding]:
    from hookline.broker.embedded.queue_states import EmbeddedQueueStates  # noqa: PLC0415  loaded only if used
    from hookline.doctor.queues import check_queues  # noqa: PLC0415  see above

    url = settings.broker.urls[0]
    findings = list(check_sqlite(settings, "broker", url))
    path = sqlite_path(settings, url)
    if all(each.level == "ok" for each in findings) and path.exists():
        findings += await check_queues(EmbeddedQueueStates(path))
    return findings
