"""What `docker compose run --rm setup` writes: settings, secrets, and users with no more rights than needed."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.schemas import topics
from hookline.schemas.broker import Retention
from hookline.schemas.envelope import Identity, moment, seal
from hookline.schemas.providers import catalogue
from hookline.settings import Settings, load
from tests.services.rabbitmq import own_node

ROOT = Path(__file__).parent.parent
SETUP = ROOT / "deploy" / "compose_setup.py"
KEPT = Retention(enabled=True, max_age_s=3600, max_bytes=2**30)
ENVELOPE = seal(
    Identity("room.created", ("1",), "lesson", 1_700_000_000),
    b"{}",
    provider="krtc",
    source="krtc-main",
    content_type="application/json",
    received_at=moment(1_700_000_001),
)


def set_up(folder: Path) -> str:
    """Run it; what it says."""
    folder.mkdir(exist_ok=True)
    return subprocess.run(  # noqa: S603  our own script
        [sys.executable, SETUP, folder], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def loaded(folder: Path) -> Settings:
    """The settings as the ingress loads them, with the secrets where they are here."""
    text = (folder / "hookline.toml").read_text().replace("secrets/amqp_url", "secrets/amqp_ingress_url")
    path = folder / "here.toml"
    path.write_text(text.replace("/run/secrets", str(folder)).replace("${HOOKLINE_INGRESS_SUBNET}", "10.0.0.0/8"))
    return load(path, with_sources=True)


def test_every_provider_of_the_catalogue_has_a_source_with_a_secret_of_its_own(tmp_path: Path) -> None:
    set_up(tmp_path / "secrets")
    sources = loaded(tmp_path / "secrets").sources
    assert {source.provider.name for source in sources.values()} == set(catalogue())
    assert len({key for source in sources.values() for key in source.keys}) == len(catalogue())


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    set_up(folder)
    before = contents(folder)
    assert set_up(folder) == ""
    assert contents(folder) == before


def test_only_sources_of_the_settings_get_a_secret(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    set_up(folder)
    for path in (folder / "sources").iterdir():
        path.unlink()
    settings = folder / "hookline.toml"
    head = settings.read_text().partition("[sources.")[0]
    own = '[sources.mine]\nprovider = "krtc"\nsecrets = ["file:/run/secrets/sources/mine", "${OLD}", "as it is"]\n'
    settings.write_text(head + own)
    assert set_up(folder) == "wrote mine\n"


def test_the_files_of_rabbitmq_are_written_together(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    set_up(folder)
    before = contents(folder)
    (folder / "amqp_worker_url").unlink()
    set_up(folder)
    changed = {name for name, text in contents(folder).items() if before[name] != text}
    assert changed == {"rabbitmq_definitions.json", "amqp_ingress_url", "amqp_worker_url", "amqp_operator_url"}


def test_the_exchange_that_a_topic_permission_names_is_made_with_it(tmp_path: Path) -> None:
    """RabbitMQ 4.3 does not start with definitions in which it is missing."""
    set_up(tmp_path / "secrets")
    written = json.loads((tmp_path / "secrets" / "rabbitmq_definitions.json").read_text())
    named = {(each["vhost"], each["exchange"]) for each in written["topic_permissions"]}
    assert named == {(each["vhost"], each["name"]) for each in written["exchanges"]}


def test_empty_folders_that_docker_made_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    for name in ("hookline.toml", "sources"):
        (folder / name).mkdir(parents=True)
    set_up(folder)
    assert loaded(folder).sources


def test_nobody_else_can_enter_the_folder_and_containers_can_read_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    set_up(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "sources").stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o644}


def test_the_spool_of_the_ingress_is_on_a_volume_that_its_user_may_write_to(tmp_path: Path) -> None:
    set_up(tmp_path / "secrets")
    spool = Path(loaded(tmp_path / "secrets").spool.path)
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    ingress = compose.partition("x-ingress:")[2].partition("x-worker:")[0]
    (mounted,) = re.findall(r"- spool:(\S+)", ingress)
    assert spool.parent == Path(mounted)
    assert re.search(r"(?m)^volumes:(\n  .*)*\n  spool:$", compose)
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"install -d -o 10001 -g 10001 -m 0700 {mounted}" in image  # a fresh volume gets this owner and mode
    assert "\nUSER 10001:10001\n" in image


def test_no_provider_is_named_by_hand() -> None:
    files = [ROOT / "compose.yaml", ROOT / "Dockerfile", *(ROOT / "deploy").iterdir()]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    without_example = text.replace("krtc-main", "")  # of a command, in a comment
    assert [name for name in catalogue() if re.search(rf"\b{name}\b", without_example)] == []


@dataclass(frozen=True, slots=True)
class Users:
    """The URLs of the two users on the test's own server."""

    ingress: str
    worker: str


@pytest.fixture
def users(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Users]:
    node = own_node(request.config)
    folder = tmp_path / "secrets"
    set_up(folder)
    node.control("import_definitions", str(folder / "rabbitmq_definitions.json"))
    server = node.url.partition("@")[2].rstrip("/")
    urls = [
        (folder / name).read_text().replace("rabbitmq:5672", server) for name in ("amqp_ingress_url", "amqp_worker_url")
    ]
    yield Users(*urls)
    node.control("delete_vhost", "hookline")  # the users may stay: without it they have no rights


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RabbitMQBroker]:
    broker = await RabbitMQBroker.open(RabbitMQSettings(url, retention=KEPT))
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def channel(url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


@pytest.mark.parametrize("first", ["ingress", "worker"])
async def test_either_role_starts_first_with_history_and_an_event_reaches_the_worker(users: Users, first: str) -> None:
    urls = [users.ingress, users.worker] if first == "ingress" else [users.worker, users.ingress]
    async with opened(urls[0]) as one, opened(urls[1]) as other:
        ingress, worker = (one, other) if first == "ingress" else (other, one)
        queue = await worker.subscribe("counter", ("#",), 10)
        await worker.declare_partitions("ordered", ("#",))
        await ingress.publisher.publish(ENVELOPE)
        received = await queue.take()
        assert received.body == ENVELOPE.body


async def test_the_ingress_reads_no_queue(users: Users) -> None:
    async with opened(users.worker) as broker:
        await broker.subscribe("counter", ("#",), 10)
    for name in (topics.queue_name("counter"), topics.dead_name("counter"), topics.HISTORY):
        async with channel(users.ingress) as refused:
            with pytest.raises(ChannelAccessRefused):
                await refused.basic_consume(name, lambda _: None)  # type: ignore[arg-type, return-value]  # is not called


async def test_a_worker_publishes_no_event(users: Users) -> None:
    async with opened(users.ingress):
        for exchange in (topics.EXCHANGE, topics.RECEIVED):
            for routing_key in (ENVELOPE.routing_key, ""):
                async with channel(users.worker) as refused:
                    with pytest.raises(ChannelAccessRefused):
                        await refused.basic_publish(b"{}", exchange=exchange, routing_key=routing_key)
