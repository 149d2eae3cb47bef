"""`hookline topology`: what should exist on RabbitMQ, on a real one."""

import asyncio
import json
from pathlib import Path

import aiormq
import pytest
from click.testing import CliRunner, Result

from hookline.cli.main import cli
from hookline.cli.settings_template import settings_file
from hookline.runtime.worker_files import find_workers
from hookline.schemas.topics import binding
from tests.contract.installations import fresh_rabbitmq, queue_name, raw_channel
from tests.services.rabbitmq import server_url


class Project:
    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.queue = queue_name()
        self.config = folder / "hookline.toml"
        self.config.write_text(settings_file().replace('url = "sqlite:hookline.db"', f'url = "{url}"', 1))
        self.worker = folder / f"worker_{self.queue.replace('-', '_')}.py"
        self.worker.write_text(
            "from hookline import worker\nfrom hookline.events import RoomCreated\n"
            f"@worker(RoomCreated, queue={self.queue!r}, ordered=True)\n"
            "async def handle(event: RoomCreated) -> None: ...\n"
        )

    def topology(self, command: str, *options: str) -> Result:
        names = [str(self.worker), "rooms"]
        return CliRunner().invoke(cli, ["topology", command, *names, "--config", str(self.config), *options])


@pytest.fixture
async def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    await fresh_rabbitmq(request.config)
    return Project(tmp_path, server_url(request.config))


def test_what_is_missing_is_shown_then_made_then_as_it_should_be(project: Project) -> None:
    before = project.topology("show", "--json")
    assert before.exit_code == 1
    missing = {each["name"] for each in map(json.loads, before.output.splitlines()) if each["state"] == "missing"}
    assert {"hookline.events", "hookline.unrouted", "hookline.rooms", f"hookline.{project.queue}.p15"} <= missing
    assert project.topology("show", "--json").output == before.output  # nothing was made
    lines = project.topology("show").output.splitlines()
    assert len(set(lines)) == len(lines)  # an exchange and a queue of one name are told apart
    applied = project.topology("apply")
    assert applied.exit_code == 0, applied.output
    after = project.topology("show")
    assert (after.exit_code, after.output) == (0, "Everything is as it should be.\n")


def test_the_definitions_hold_all_that_apply_makes_and_no_password(project: Project) -> None:
    found = json.loads(project.topology("export").output)
    queues = {each["name"]: each for each in found["queues"]}
    assert {"hookline.rooms", "hookline.rooms.dead", f"hookline.{project.queue}.p00", "hookline._queues"} <= set(queues)
    assert queues[f"hookline.{project.queue}.p00"]["arguments"]["x-single-active-consumer"] is True
    assert {each["name"] for each in found["exchanges"]} == {"hookline.events", "hookline.unrouted"}
    keys = {each["routing_key"] for each in found["bindings"] if each["destination"] == f"hookline.{project.queue}.p07"}
    assert keys == {binding(pattern, "p07") for pattern in find_workers([str(project.worker)])[0].patterns}
    assert set(found) == {"exchanges", "queues", "bindings"}
    assert "guest" not in json.dumps(found)


async def test_declaring_the_definitions_is_what_the_processes_do(project: Project) -> None:
    """What an operator imports must not differ from what a worker declares later."""
    found = json.loads(project.topology("export").output)
    connection = await aiormq.connect(project.url)
    channel = await connection.channel()
    for each in found["exchanges"]:
        await channel.exchange_declare(
            each["name"], exchange_type=each["type"], durable=True, arguments=each["arguments"]
        )
    for each in found["queues"]:
        await channel.queue_declare(each["name"], durable=True, arguments=each["arguments"])
    for each in found["bindings"]:
        await channel.queue_bind(each["destination"], each["source"], each["routing_key"])
    await connection.close()
    shown = await asyncio.to_thread(project.topology, "show")
    assert shown.output == "Everything is as it should be.\n"


async def test_a_queue_in_another_form_is_named_and_left(project: Project) -> None:
    async with raw_channel(project.url) as channel:
        name = f"hookline.{project.queue}"
        await channel.queue_declare(name, durable=True)
        shown = await asyncio.to_thread(project.topology, "show")
        assert f"RabbitMQ has {name}, or what belongs to it, in another form" in shown.output
        applied = await asyncio.to_thread(project.topology, "apply")
        assert "in another form" in str(applied.exception)
        await channel.queue_delete(name)


def test_the_embedded_queue_needs_none(tmp_path: Path) -> None:
    project = Project(tmp_path, "sqlite:hookline.db")
    assert "the embedded queue declares everything by itself" in str(project.topology("show").exception)
