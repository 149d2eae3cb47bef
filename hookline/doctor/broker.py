"""Checks of RabbitMQ: the way to it, and what should exist there."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hookline.broker.rabbitmq.explaining import CLOSED_OVER_TLS, NOT_RESOLVED, NOT_TRUSTED, NOT_VALID, TLS_FAILED
from hookline.broker.rabbitmq.management import Management
from hookline.broker.rabbitmq.visit import Visit, visiting
from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.doctor.queues import check_queues
from hookline.runtime.installation import rabbitmq_settings
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import Settings
from hookline.workers.api import Worker

_GUEST = "; RabbitMQ lets the user guest in from its own machine only"
_MANAGEMENT_PORT = 15672
_REFUSED = "refused the user or password"
_CLIENT_CERTIFICATE = "name a certificate of a client in broker.url, as ?certfile=client.pem&keyfile=client.key"
_REMEDIES = {
    "certificate required": _CLIENT_CERTIFICATE,
    CLOSED_OVER_TLS: f"start RabbitMQ, or {_CLIENT_CERTIFICATE}",
    NOT_RESOLVED: "mend the host in broker.url, or the name server of this machine",
    NOT_VALID: "use a name in broker.url that the certificate has",
    NOT_TRUSTED: "name the file of its authority in broker.url, as ?cafile=ca.pem",
    TLS_FAILED: "name its port for TLS in broker.url, which is 5671",
}
"""What to do about what the network or TLS did, by a part of the sentence."""


async def check_rabbitmq(settings: Settings, workers: Sequence[Worker[Any]]) -> list[Finding]:
    try:
        async with visiting(rabbitmq_settings(settings)) as visit:
            answers = await _nodes(settings, visit.places)
            managed = [] if visit.management is None else await _policies(visit.management)
            return [*answers, *managed, *await _topology(visit, workers), *await check_queues(visit.queue_states)]
    except SettingsError as error:
        return [fault("broker", str(error))]
    except Unreachable as error:
        return [fault("broker", f"{error}: {_remedy(str(error), settings)}")]


async def _nodes(settings: Settings, places: str) -> list[Finding]:
    """What each node of a cluster answers. One of them answers."""
    urls = settings.broker.urls if len(settings.broker.urls) > 1 else ()
    errors = [error for error in await asyncio.gather(*(_node(settings, url) for url in urls)) if error]
    lost = [
        warning("broker", f"{error}; the other nodes answer: {_remedy(error, settings)}, before another node is lost")
        for error in errors
    ]
    return lost or [ok("broker", f"RabbitMQ at {places} answers, and knows the user and the vhost")]


async def _node(settings: Settings, url: str) -> str:
    """Why a node cannot be used; empty if it can."""
    try:
        async with visiting(replace(rabbitmq_settings(settings), url=url)):
            return ""
    except Unreachable as error:
        return str(error)


def _remedy(error: str, settings: Settings) -> str:
    if _REFUSED in error:
        guest = _GUEST if any("://guest:" in url or "://guest@" in url for url in settings.broker.urls) else ""
        return f"mend the user and password in broker.url{guest}"
    if "vhost" in error:
        return "make it with `rabbitmqctl add_vhost` and grant the user rights, or mend the end of broker.url"
    if any(f":{_MANAGEMENT_PORT}" in url for url in settings.broker.urls):
        return f"{_MANAGEMENT_PORT} is the port of its management API: name that of AMQP in broker.url, which is 5672"
    for said, remedy in _REMEDIES.items():
        if said in error:
            return remedy
    return "start RabbitMQ, or mend broker.url"


async def _policies(management: Management) -> list[Finding]:
    try:
        queues = await management.queues()
    except Unreachable as error:
        return [fault("policies", f"{error}: mend broker.management_url, or the user's tags")]
    found = [
        fault(
            "policies",
            f"{each.name} has the policy {each.policy}, by which RabbitMQ deletes or refuses events ({each.deleting}): "
            f"rabbitmqctl clear_policy {each.policy}",
        )
        for each in queues.values()
        if each.deleting
    ]
    return found or [ok("policies", f"no policy deletes events of {len(queues)} queues")]


async def _topology(visit: Visit, workers: Sequence[Worker[Any]]) -> list[Finding]:
    found = [
        (warning if each.is_missing else fault)("topology", each.text) for each in await visit.differences(workers)
    ]
    return found or [ok("topology", "everything is as it should be")]
