"""`hookline status` and `hookline check` name an alarm of RabbitMQ, although the ingress is ready with its spool."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.processes import Project, eventually
from tests.services.rabbitmq import own_node
from tests.services.servers import free_ports

SAID = "RabbitMQ takes no events, because of an alarm of its memory or disk"


@pytest.fixture
async def project_in_an_alarm(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Project]:
    """The alarm begins once an ingress runs, and ends with the test."""
    node = own_node(request.config)
    project = Project(tmp_path, (await fresh_rabbitmq(request.config)).address)
    project.config.write_text(f"{project.config.read_text()}\n[admin]\nport = {free_ports(1)[0]}\n")
    project.start("ingress")
    await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.000001")
    try:
        yield project
    finally:
        await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.4")
        project.close()


@pytest.mark.timeout(300)  # seven commands, each of which takes ten seconds on a busy machine
async def test_an_alarm_that_the_spool_hides_is_said(project_in_an_alarm: Project) -> None:
    project = project_in_an_alarm

    def is_said() -> bool:
        assert project.call("send", "krtc-main", "103").returncode == 0  # RabbitMQ blocks who publishes
        found = json.loads(project.call("status", "--json").stdout)
        states = [process for port in found["processes"] for process in port["processes"]]
        return [(state["ready"], state["broker_fault"]) for state in states] == [(True, "broker_alarm")]

    await eventually(is_said)
    done = project.call("check")
    assert (done.returncode, SAID in done.stdout) == (1, True)
