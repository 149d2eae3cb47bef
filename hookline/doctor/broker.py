"""Checks of RabbitMQ: the way to it, and what should exist there."""

from collections.abc import Sequence
from typing import Any

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.queue_states import RabbitMQQueueStates
from hookline.broker.rabbitmq.topology.wanted import compare, wanted
from hookline.broker.rabbitmq.visit import visiting
from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.doctor.queues import check_queues
from hookline.runtime.installation import rabbitmq_settings
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import Settings
from hookline.workers.api import Worker

_GUEST = "; RabbitMQ lets the user guest in from its own machine only"
_REFUSED = "refused the user or password"


async def check_rabbitmq(settings: Settings, workers: Sequence[Worker[Any]]) -> list[Finding]:
    try:
        rabbitmq = rabbitmq_settings(settings)
        async with visiting(rabbitmq) as connection:
            places = ", ".join(address.place for address in rabbitmq.addresses)
            findings = [ok("broker", f"RabbitMQ at {places} answers, and knows the user and the vhost")]
            return findings + await _of_contents(connection, rabbitmq, workers)
    except SettingsError as error:
        return [fault("broker", str(error))]
    except Unreachable as error:
        return [fault("broker", f"{error}: {_remedy(str(error), settings)}")]


def _remedy(error: str, settings: Settings) -> str:
    if _REFUSED in error:
        guest = _GUEST if any("://guest:" in url or "://guest@" in url for url in settings.broker.urls) else ""
        return f"mend the user and password in broker.url{guest}"
    if "vhost" in error:
        return (
            "make it (`rabbitmqctl add_vhost`) and grant the user rights, or name another one at the end of broker.url"
        )
    return "start RabbitMQ, or mend broker.url"


async def _of_contents(
    connection: AbstractConnection, settings: RabbitMQSettings, workers: Sequence[Worker[Any]]
) -> list[Finding]:
    findings = []
    for difference in await compare(connection, wanted(workers, settings.retention), settings.connect_timeout_s):
        level = warning if difference.is_missing else fault
        findings.append(level("topology", difference.text))
    findings = findings or [ok("topology", "everything is as it should be")]
    return findings + await check_queues(RabbitMQQueueStates(lambda: connection, settings.connect_timeout_s))
