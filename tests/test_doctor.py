"""`hookline check`: a newcomer's likeliest mistakes, each found in one line that says what to do."""

import asyncio
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as redis_client
from click.testing import CliRunner

from hookline.cli.main import cli
from hookline.cli.settings_template import settings_file
from hookline.doctor import machine, store
from hookline.doctor.checks import check_all
from hookline.doctor.findings import Finding, Level
from hookline.schemas.broker import Again
from hookline.settings import load
from tests.contract.installations import envelope, opened, queue_name, raw_channel, taken
from tests.services import postgresql, redis
from tests.services.certificates import CertificateAuthority
from tests.services.rabbitmq import server_url
from tests.services.servers import free_ports

WORKER = """
from hookline import worker
from hookline.events import RoomCreated

@worker(RoomCreated, queue="billing")
async def billing(event: RoomCreated) -> None: ...
"""
NOBODYS = 9
"""A port on which nothing listens: `discard`."""
REACHABLE_BY_ALL = '[admin]\nhost = "0.0.0.0"'


class Project:
    """A folder with settings that are right, which a mistake changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "hookline.toml"
        self.worker = folder / "billing.py"
        (port,) = free_ports(1)
        self.config.write_text(settings_file().replace("port = 8080", f"port = {port}"))
        self.config.chmod(0o600)
        self.worker.write_text(WORKER)
        self.port = port

    def change(self, old: str, new: str, count: int = 1) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new, count))

    def add(self, text: str) -> None:
        self.config.write_text(f"{self.config.read_text()}\n{text}\n")

    def set_broker(self, url: str) -> None:
        self.change('url = "sqlite:hookline.db"', f'url = "{url}"')

    def set_store(self, url: str) -> None:
        head, _, rest = self.config.read_text().partition("[store]")
        self.config.write_text(head + "[store]" + rest.replace('url = "sqlite:hookline.db"', f'url = "{url}"', 1))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


async def found(project: Project, *workers: str) -> list[Finding]:
    files = [str(project.folder / each) for each in workers or ("billing.py",)]
    return await asyncio.to_thread(check_all, project.config, files)


def said(findings: Sequence[Finding], *levels: Level) -> str:
    return "\n".join(each.text for each in findings if each.level in (levels or ("fault", "warning")))


async def test_a_project_without_mistakes_has_no_fault(project: Project) -> None:
    assert said(await found(project)) == ""


def secret(project: Project, value: str) -> None:
    head, _, rest = project.config.read_text().partition('secrets = ["')
    project.config.write_text(f'{head}secrets = ["{value}"{rest.partition(chr(34))[2]}')


def worker(project: Project, arguments: str) -> None:
    text = WORKER.replace("RoomCreated, queue", f"{arguments}, queue").replace("event: RoomCreated", "event: Event")
    project.worker.write_text(text.replace("import RoomCreated", "import Event"))


def other_database(project: Project) -> None:
    with closing(sqlite3.connect(project.folder / "hookline.db")) as connection:
        connection.execute("PRAGMA user_version = 7")


def no_database(project: Project) -> None:
    (project.folder / "hookline.db").write_text("this is a text, and long enough to be looked at" * 100)


def in_utf16(project: Project, file: Path | None = None) -> None:
    path = file or project.config
    path.write_text(path.read_text(), encoding="utf-16")


def in_gbk(project: Project) -> None:
    project.config.write_text(f"# 密钥\n{project.config.read_text()}", encoding="gbk")


MISTAKES: Sequence[tuple[str, Callable[[Project], object], str]] = (
    ("no settings file", lambda it: it.config.unlink(), "; `hookline init` writes one, and --config names another"),
    ("a file that is not TOML", lambda it: it.add("[ingress"), "it is not TOML"),
    ("a misspelt key", lambda it: it.change("port =", "prot ="), "there is no such setting; did you mean port?"),
    ("a misspelt section", lambda it: it.add("[worker]"), "did you mean workers?"),
    (
        "a variable that is not set",
        lambda it: it.change('secrets = ["', 'secrets = ["${NO_SUCH}'),
        "no variable NO_SUCH",
    ),
    ("a secret that is still a placeholder", lambda it: secret(it, "changeme"), "placeholder"),
    ("an empty secret", lambda it: secret(it, ""), "one is empty"),
    ("a short secret", lambda it: secret(it, "abc123"), "secrets"),
    ("an unknown provider", lambda it: it.change('provider = "krtc"', 'provider = "krct"'), "did you mean krtc?"),
    ("a settings file that others may read", lambda it: it.config.chmod(0o644), "others may read it: chmod 600"),
    ("an operator's port for everybody", lambda it: it.add(REACHABLE_BY_ALL), "admin.token: it is missing"),
    (
        "a certificate that is not there",
        lambda it: it.change("[ingress]", '[ingress]\ntls_certificate = "none.pem"'),
        "none.pem is not a file",
    ),
    (
        "a folder for refused requests that is not there",
        lambda it: it.add('[audit]\npath = "none/refused.db"'),
        "none does not exist: make it, or name another folder; refused requests are not recorded meanwhile",
    ),
    ("a worker's file that is not there", lambda it: it.worker.unlink(), "billing.py: there is no such file"),
    (
        "a worker's file that cannot be imported",
        lambda it: it.worker.write_text("import no_such_module"),
        "no_such_module",
    ),
    (
        "a worker's file that ends the program",
        lambda it: it.worker.write_text("raise SystemExit"),
        "billing.py exits when it is imported",
    ),
    ("a file without a worker", lambda it: it.worker.write_text("x = 1"), "there is no worker at its top level"),
    (
        "an event with a misspelt name",
        lambda it: it.worker.write_text("from hookline.events import ParticipantJoin"),
        "did you mean ParticipantJoined?",
    ),
    (
        "a module with a misspelt name",
        lambda it: it.worker.write_text("import hookline.event"),
        "did you mean hookline.events?",
    ),
    (
        "an attribute with a misspelt name",
        lambda it: it.worker.write_text("import hookline\nhookline.workr"),
        "did you mean worker?",
    ),
    (
        "an event with a misspelt name behind its module",
        lambda it: it.worker.write_text("import hookline.events as e\ne.RoomCraeted"),
        "did you mean RoomCreated?",
    ),
    (
        "a name that was not imported",
        lambda it: it.worker.write_text(WORKER.replace("from hookline import worker", "")),
        "add `from hookline import worker`",
    ),
    (
        "an event that was not imported",
        lambda it: it.worker.write_text(WORKER.replace("from hookline.events import RoomCreated", "")),
        "add `from hookline.events import RoomCreated`",
    ),
    ("a provider in capitals", lambda it: it.change('provider = "krtc"', 'provider = "KRTC"'), "did you mean krtc?"),
    (
        "the name of a host among addresses",
        lambda it: it.change('provider = "krtc"', 'provider = "krtc"\nallow_from = ["krtc.example.com"]'),
        "names of hosts are not looked up",
    ),
    ("a topic with too few words", lambda it: worker(it, 'topic="room.created"'), "billing.py"),
    ("a topic of no source", lambda it: worker(it, 'topic="gme.krtc.#"'), "no source sends gme.krtc.#; topics begin"),
    ("a typing error in a topic", lambda it: worker(it, 'topic="krtc.krtc-mian.#"'), "did you mean krtc.krtc-main?"),
    ("an event of another provider", lambda it: worker(it, 'topic="krtc.*.call.*"'), "krtc sends nothing that matches"),
    (
        "a broker's URL of another kind",
        lambda it: it.set_broker("http://rabbit"),
        'toml: broker.url: expected "sqlite:',
    ),
    (
        "a port that cannot be",
        lambda it: it.set_broker("amqp://localhost:99999/"),
        "broker.url: the port is a number from 1 to 65535",
    ),
    (
        "a broker that is away",
        lambda it: it.set_broker(f"amqp://127.0.0.1:{NOBODYS}/"),
        "start RabbitMQ, or mend broker.url",
    ),
    (
        "a broker whose name nobody knows",
        lambda it: it.set_broker("amqp://rabbit.invalid/"),
        "the name cannot be resolved: mend the host in broker.url",
    ),
    (
        "a store that is away",
        lambda it: it.set_store(f"redis://127.0.0.1:{NOBODYS}/0"),
        "start the server, or mend store.url",
    ),
    (
        "a store's URL of another kind",
        lambda it: it.set_store("mysql://db"),
        'toml: store.url: expected "sqlite:',
    ),
    ("a file in UTF-16", in_utf16, "toml: it is UTF-16, and TOML is UTF-8: save it as UTF-8"),
    ("a file in another encoding", in_gbk, "it is not UTF-8, as TOML is (at line 1): save it as UTF-8"),
    ("a name in Chinese", lambda it: it.change("krtc-main", "金山"), "names are of a-z, A-Z, 0-9, _ and -"),
    ("a file in YAML", lambda it: it.config.write_text("broker:\n"), 'a line is [section], or name = "text"'),
    (
        "a value that is none of those that there are",
        lambda it: it.add('[workers]\nlog_errors = "all"'),
        'workers.log_errors: expected one of "place", "text", "full", got \'all\'',
    ),
    ("a secret in quotes", lambda it: secret(it, "“a-secret-of-some-length”"), "one stands in quotes, which are part"),
    (
        "a variable without braces",
        lambda it: it.set_broker("amqp://me:$AMQP_PASSWORD@127.0.0.1:9/"),
        "broker.url: $AMQP_PASSWORD is taken as it stands; write ${AMQP_PASSWORD}",
    ),
    ("a queue in memory", lambda it: it.set_broker("sqlite::memory:"), "a file that outlives the process"),
    (
        "a URL as SQLAlchemy has it",
        lambda it: it.set_store("sqlite://hookline.db"),
        'store.url: expected "sqlite:FILE"',
    ),
    ("a tilde", lambda it: it.set_broker("sqlite:~/hookline.db"), "write sqlite:${HOME}/…"),
    ("a folder for a database", lambda it: it.set_broker("sqlite:."), "it is a folder; name a file in it"),
    ("a worker's file in UTF-16", lambda it: in_utf16(it, it.worker), "it is UTF-16 or no text: save it as UTF-8"),
    (
        "a relative import in a worker's file",
        lambda it: it.worker.write_text(f"from . import x\n{WORKER}"),
        "name the module instead of the file",
    ),
    ("a folder that does not exist", lambda it: it.set_broker("sqlite:data/hookline.db"), "does not exist: make it"),
    (
        "the port of RabbitMQ's management API",
        lambda it: it.set_broker("amqp://guest:guest@127.0.0.1:15672/"),
        "name that of AMQP in broker.url, which is 5672",
    ),
    ("one port for both", lambda it: it.add(f"[admin]\nport = {it.port}"), "is also ingress.port; set another one"),
    (
        "the name of a file as a secret",
        lambda it: secret(it, str(it.worker)),
        "begin it with file:, as in file:/run/secrets/name",
    ),
    (
        "a secret of a container without file:",
        lambda it: secret(it, "/run/secrets/krtc"),
        "begin it with file:, as in file:/run/secrets/name",
    ),
    ("the database of another program", other_database, "is the database of another program"),
    ("a file that is no database", no_database, "it is no SQLite file; name another file"),
)


@pytest.mark.parametrize(("mistake", "text"), [each[1:] for each in MISTAKES], ids=[each[0] for each in MISTAKES])
async def test_a_mistake_is_found(project: Project, mistake: Callable[[Project], object], text: str) -> None:
    mistake(project)
    assert text in said(await found(project))


async def test_failing_and_untouched_events_of_the_embedded_queue_are_found(project: Project) -> None:
    async with opened(f"sqlite:{project.folder / 'hookline.db'}") as broker:
        queue = await broker.subscribe("billing", ("*.*.room.#",), 1)
        await broker.publisher.publish(envelope())  # it was received long ago
        (received,) = await taken(queue)
        await queue.settle(received, Again(3600.0, 2, "failed"))
        await queue.close()
        await broker.publisher.publish(envelope())
        warned = said(await found(project), "warning")
    assert "billing has events waiting (1) that no process takes: does its worker run?" in warned
    assert "billing tries 1 again: `hookline retrying show billing` has the errors" in warned


async def test_a_worker_s_file_may_run_an_event_loop_while_it_is_imported(project: Project) -> None:
    project.worker.write_text(f"import asyncio\nasyncio.run(asyncio.sleep(0))\n{WORKER}")
    assert said(await found(project)) == ""


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
async def test_a_store_that_does_not_answer_in_time_is_found(project: Project, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        project.set_store(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/0")
        project.change("[store]", "[store]\ntimeout_s = 1")
        assert "the store did not answer within 1 s: look at its load" in said(await found(project), "fault")


async def test_two_workers_of_one_queue_are_found(project: Project) -> None:
    shutil.copy(project.worker, project.folder / "other.py")
    assert "queue 'billing' has two workers" in said(await found(project, "billing.py", "other.py"), "fault")


async def test_a_port_of_another_program_is_found(project: Project) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", project.port))  # noqa: S104  as the ingress does
        other.listen()
        assert "another program listens there" in said(await found(project), "fault")


async def test_a_disk_that_is_nearly_full_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MIN_FREE_BYTES", 2**63)
    assert "make room" in said(await found(project), "fault")


async def test_a_clock_that_is_years_behind_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s - 10 * 365 * 86_400)
    assert "set it, run NTP" in said(list(machine.check_clock()), "fault")


async def test_a_node_of_a_cluster_that_is_away_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    there = server_url(request.config)
    project.change('url = "sqlite:hookline.db"', f'url = ["{there}", "amqp://127.0.0.1:{NOBODYS}/"]')
    text = said(await found(project), "warning")
    assert f"RabbitMQ at 127.0.0.1:{NOBODYS}: connection refused; the other nodes answer: start RabbitMQ" in text


async def test_a_spool_that_everybody_may_write_to_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    project.set_broker(server_url(request.config))
    spool = project.folder / "hookline-spool"
    spool.mkdir()
    spool.chmod(0o777)
    assert "spool.path: everybody may write to" in said(await found(project), "fault")


async def test_a_wrong_password_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    place = urlsplit(server_url(request.config))
    project.set_broker(f"amqp://guest:wrong@{place.hostname}:{place.port}/")
    text = said(await found(project), "fault")
    assert "mend the user and password in broker.url" in text
    assert "wrong" not in text


async def test_a_vhost_that_does_not_exist_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    project.set_broker(f"{server_url(request.config).rstrip('/')}/no-such-vhost")
    assert "rabbitmqctl add_vhost" in said(await found(project), "fault")


async def test_a_store_that_workers_elsewhere_do_not_share_is_found(
    project: Project, request: pytest.FixtureRequest
) -> None:
    project.set_broker(server_url(request.config))
    assert "use Redis or PostgreSQL" in said(await found(project), "warning")


async def test_a_transactional_worker_on_redis_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    project.set_store(redis.server_url(request.config))
    project.worker.write_text(
        WORKER.replace("import worker", "import Delivery, worker")
        .replace("event: RoomCreated", "event: RoomCreated, delivery: Delivery")
        .replace("queue=", "transactional=True, queue=")
    )
    assert "store.url must be PostgreSQL or SQLite" in said(await found(project), "fault")


async def test_a_wrong_password_of_postgresql_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    place = urlsplit(postgresql.server_url(request.config))
    project.set_store(f"postgresql://nobody:wrong@{place.hostname}:{place.port}/none")
    text = said(await found(project), "fault")
    assert "PostgreSQL cannot be used" in text
    assert "wrong" not in text


@pytest.mark.parametrize("server", [redis, postgresql])
async def test_a_store_that_answers_slowly_is_found(
    project: Project, request: pytest.FixtureRequest, server: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.set_store(server.server_url(request.config))
    monkeypatch.setattr(store, "_SLOW_S", 1e9)
    assert "look at its load" not in said(await found(project), "warning")
    monkeypatch.setattr(store, "_SLOW_S", 0.0)
    assert "to answer, and each event asks it twice: look at its load" in said(await found(project), "warning")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"maxmemory": 1000, "used_memory": 1200}, "fault: Redis is full"),
        ({"maxmemory": 1000, "used_memory": 950}, "warning: Redis uses 95% of its maxmemory"),
        ({"maxmemory": 1000, "maxmemory_policy": "allkeys-lru"}, "warning: Redis deletes keys when it is full"),
        ({"role": "slave"}, "fault: Redis is a replica there"),
        ({"aof_last_write_status": "err"}, "warning: Redis could not write its data to disk"),
        ({"maxmemory": 0, "used_memory": 1200, "maxmemory_policy": "allkeys-lru"}, ""),
        ({}, ""),
    ],
)
def test_a_redis_that_will_not_take_or_keep_what_is_written_is_found(facts: Mapping[str, Any], text: str) -> None:
    findings = [f"{each.level}: {each.text}" for each in store.redis_findings(facts)]
    assert [each[: len(text)] for each in findings] == ([text] if text else [])


async def test_a_full_redis_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    server = redis.own_server(request.config)
    project.set_store(server.url)
    with redis_client.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1024)
        try:
            text = said(await found(project), "fault")
        finally:
            client.config_set("maxmemory", 0)
    assert "Redis is full" in text


async def test_a_postgresql_that_takes_no_writes_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    url = postgresql.server_url(request.config)
    project.set_store(f"{url}?options=-c%20default_transaction_read_only%3Don")
    assert "PostgreSQL takes no writes there" in said(await found(project), "fault")


@pytest.mark.parametrize(
    ("days", "level", "text"),
    [(0, "warning", "expires in "), (3, "fault", "has expired"), (-30, "ok", "can be used with its key, until")],
)
async def test_a_certificate_is_found_before_and_after_it_has_expired(
    project: Project, monkeypatch: pytest.MonkeyPatch, days: int, level: Level, text: str
) -> None:
    """One that is valid for two days, looked at so many days later."""
    made = CertificateAuthority(project.folder, "ca").issue("ingress", "DNS:localhost")
    project.change("[ingress]", f'[ingress]\ntls_certificate = "{made.certificate}"\ntls_key = "{made.key}"')
    settings = load(project.config, with_sources=True)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + days * 86_400)
    (finding,) = machine.check_certificate(settings)
    assert finding.level == level
    assert text in finding.text


async def test_a_queue_in_another_form_is_found_and_nothing_is_made(
    project: Project, request: pytest.FixtureRequest
) -> None:
    url, name = server_url(request.config), queue_name()
    project.set_broker(url)
    project.worker.write_text(WORKER.replace('"billing"', f'"{name}"'))
    async with raw_channel(url) as channel:
        await channel.queue_declare(f"hookline.{name}", durable=True)
        try:
            findings = await found(project)
            assert f"RabbitMQ has hookline.{name}, or what belongs to it, in another form" in said(findings, "fault")
            assert f"hookline.{name}.dead is missing" in said(findings, "warning")
            assert f"hookline.{name}.dead is missing" in said(await found(project), "warning")
        finally:
            await channel.queue_delete(f"hookline.{name}")


async def test_a_queue_that_nobody_consumes_is_found(project: Project, request: pytest.FixtureRequest) -> None:
    url, name = server_url(request.config), queue_name()
    project.set_broker(url)
    async with opened(url) as broker:
        queue = await broker.subscribe(name, ("#",), 1)
        await queue.close()
        await broker.publisher.publish(envelope())
        for _ in range(200):
            if f"wait in {name}, and nothing consumes it: start its worker" in said(await found(project), "fault"):
                return
    pytest.fail("it was not found")


def test_the_exit_code_says_whether_there_is_a_fault(project: Project) -> None:
    runner = CliRunner()
    arguments = ["check", "--config", str(project.config)]
    assert runner.invoke(cli, arguments).exit_code == 0
    project.change("port =", "prot =")
    done = runner.invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 1
    assert '"level":"fault"' in done.output


def test_nothing_is_made(project: Project) -> None:
    before = sorted(project.folder.rglob("*"))
    CliRunner().invoke(cli, ["check", "--config", str(project.config)])
    assert sorted(project.folder.rglob("*")) == before


@pytest.mark.parametrize("command", [["check"], ["worker", "rooms"]], ids=" ".join)
def test_a_folder_on_a_read_only_file_system_is_named(project: Project, command: list[str]) -> None:
    mounted = f"mount --bind {project.folder} {project.folder} && mount -o remount,ro,bind {project.folder}"
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*unshare, mounted], capture_output=True, check=False).returncode != 0:  # noqa: S603  our own
        pytest.skip("this user may not mount anything")
    ours = shlex.join([sys.executable, "-m", "hookline", *command, "--config", str(project.config)])
    done = subprocess.run([*unshare, f"{mounted} && {ours}"], capture_output=True, text=True, check=False)  # noqa: S603
    assert "its file system is read-only: name a file on another one" in done.stdout + done.stderr
    assert done.returncode != 0
