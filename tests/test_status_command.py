"""`hookline status`, on both brokers, at 80 columns, in a pipe, and as JSON."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from hookline.age import age_text
from hookline.audit.writer import SqliteRefusalWriter
from hookline.broker.spool.files import RealFiles
from hookline.broker.spool.journal import Journal
from hookline.broker.spool.records import Entry, pack
from hookline.broker.spool.visit import contents
from hookline.cli.main import cli
from hookline.cli.settings_template import settings_file
from hookline.events import ParticipantJoined
from hookline.ingress.settings import AuditSettings
from hookline.schemas.broker import Again, Parked
from hookline.schemas.errors import Unreachable
from hookline.schemas.refusals import UNKNOWN_PATH
from hookline.sqlite.database import Database
from hookline.workers.event_log import EventLog
from hookline.workers.source_states import USUAL_EVENTS
from hookline.workers.stores.sqlite.event_log import SqliteEventStorage
from tests.contract.installations import envelope, opened, queue_name, taken
from tests.events import make
from tests.services.rabbitmq import server_url


def config_of(folder: Path, broker_url: str) -> Path:
    config = folder / "hookline.toml"
    config.write_text(settings_file().replace('url = "sqlite:hookline.db"', f'url = "{broker_url}"', 1))
    return config


def status(config: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["status", "--config", str(config), *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'hookline.db'}" if request.param == "embedded" else server_url(request.config)


async def test_each_queue_has_its_numbers_and_what_to_do(broker_url: str, tmp_path: Path) -> None:
    name, config = queue_name(), config_of(tmp_path, broker_url)
    async with opened(broker_url) as broker:
        queue = await broker.subscribe(name, ("*.*.room.#",), 1)
        for _ in range(3):
            await broker.publisher.publish(envelope())
        (received,) = await taken(queue)
        await queue.settle(received, Parked("failed", "", 1))
        for _ in range(200):
            (state,) = await broker.queue_states.states([name])
            if state.dead == 1:
                break
            await asyncio.sleep(0.05)
        (found,) = [json.loads(await asyncio.to_thread(status, config, "--json"))]
        (ours,) = [each for each in found["queues"] if each["queue"] == name]
        assert ours["dead"] == 1
        assert ours["waiting"] + (ours["in_flight"] or 1) == 2
        text = await asyncio.to_thread(status, config)
    assert name in text
    assert f"{name}: `hookline dead list {name}` shows why" in text
    assert "unrouted: " in text
    assert ("spool of this machine: 0 events" in text) == broker_url.startswith("amqp")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "does not exist yet: `hookline run` or `hookline ingress` makes it"),
        (b"no database", "cannot be opened: it is no SQLite file"),
    ],
    ids=["a missing file", "another file"],
)
def test_a_fault_of_queues_and_sources_is_said_once(tmp_path: Path, content: bytes | None, fault: str) -> None:
    if content is not None:
        (tmp_path / "hookline.db").write_bytes(content)
    command = [sys.executable, "-m", "hookline", "status", "--config", str(config_of(tmp_path, "sqlite:hookline.db"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    assert done.returncode == 3
    assert (done.stdout + done.stderr).count("hookline.db") == 1
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


async def test_failing_and_untouched_events_have_a_next_step(tmp_path: Path) -> None:
    config = config_of(tmp_path, f"sqlite:{tmp_path / 'hookline.db'}")
    async with opened(f"sqlite:{tmp_path / 'hookline.db'}") as broker:
        failing = await broker.subscribe("failing", ("*.*.room.#",), 1)
        idle = await broker.subscribe("idle", ("*.*.room.#",), 1)
        await broker.publisher.publish(envelope())  # it was received long ago
        (received,) = await taken(failing)
        await failing.settle(received, Again(3600.0, 2, "failed"))
        await idle.close()
        text = await asyncio.to_thread(status, config)
    assert "failing: `hookline retrying show failing` shows the last error" in text
    assert "idle: no process takes its events; does its worker run?" in text
    assert "failing: no process" not in text


async def test_what_was_refused_lately_has_a_next_step(tmp_path: Path) -> None:
    config = config_of(tmp_path, f"sqlite:{tmp_path / 'hookline.db'}")
    writer = SqliteRefusalWriter(tmp_path / "hookline-refused.db", AuditSettings())
    now_s = time.time()
    writer.count({("krtc-main", "bad_signature"): 8}, now_s - 30.0)
    writer.count({("meetings", "bad_signature"): 8}, now_s - 7200.0)
    writer.count({(UNKNOWN_PATH, "unknown_source"): 1}, now_s - 60.0)
    await writer.close()
    async with opened(f"sqlite:{tmp_path / 'hookline.db'}"):
        text = await asyncio.to_thread(status, config)
        found = json.loads(await asyncio.to_thread(status, config, "--json"))
    lines = [line for line in text.splitlines() if "refused" in line]
    assert [line.partition(": refused (")[0] for line in lines] == ["krtc-main", "unknown paths"]
    assert lines[0].endswith(": `hookline refused list --source krtc-main`")
    assert lines[1].endswith(": `hookline refused list --source -`")
    assert [each["source"] for each in found["refused"]] == ["krtc-main", UNKNOWN_PATH]


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("stale_timestamp", "is this machine's clock right? Run NTP"),
        ("missing_signature", "does a load balancer or a firewall remove headers?"),
    ],
)
@pytest.mark.parametrize(("sources", "is_common"), [(("calls",), False), (("calls", "zoom-main"), True)])
async def test_what_refuses_several_sources_has_a_cause_on_our_side(
    tmp_path: Path, reason: str, hint: str, sources: tuple[str, ...], *, is_common: bool
) -> None:
    assert (hint in await refused_status(tmp_path, reason, sources, time.time() - 30.0)) is is_common


async def test_what_a_clock_that_was_ahead_has_noted_is_no_news(tmp_path: Path) -> None:
    text = await refused_status(tmp_path, "stale_timestamp", ("calls", "zoom-main"), time.time() + 3600.0)
    assert "calls: refused (stale_timestamp, by a clock that was ahead of this one)" in text
    assert "Run NTP" not in text


async def refused_status(tmp_path: Path, reason: str, sources: Sequence[str], at_s: float) -> str:
    config = config_of(tmp_path, f"sqlite:{tmp_path / 'hookline.db'}")
    writer = SqliteRefusalWriter(tmp_path / "hookline-refused.db", AuditSettings())
    writer.count({(source, reason): 1 for source in sources}, at_s)
    await writer.close()
    async with opened(f"sqlite:{tmp_path / 'hookline.db'}"):
        return await asyncio.to_thread(status, config)


async def test_each_source_has_the_age_of_its_latest_event_and_unusual_silence_a_next_step(tmp_path: Path) -> None:
    config = config_of(tmp_path, f"sqlite:{tmp_path / 'hookline.db'}")
    database = await Database.open(tmp_path / "hookline.db")
    log = EventLog(await SqliteEventStorage.open(database))
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=15)
    for number in range(USUAL_EVENTS + 1):
        await log.append(_joined("krtc-main", f"k{number}", yesterday + timedelta(seconds=number)))
    await log.append(_joined("classes", "c", datetime.now(UTC) - timedelta(hours=5)))
    async with opened(f"sqlite:{tmp_path / 'hookline.db'}"):
        text = await asyncio.to_thread(status, config)
        found = json.loads(await asyncio.to_thread(status, config, "--json"))
    await database.close()
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}
    assert rows["krtc-main"] == "24.2 h ago silent, unlike yesterday at this time"
    assert (rows["classes"], rows["zego-main"]) == ("5 h ago -", "none -")
    assert "krtc-main: nothing has come for half an hour; is the callback still on in the provider's console?" in text
    states = {each["source"]: each for each in found["sources"]}
    assert [states[name]["silent"] for name in ("krtc-main", "classes", "zego-main")] == [True, False, False]
    assert states["zego-main"]["last_at"] is None


def _joined(source: str, event_id: str, at: datetime) -> ParticipantJoined:
    event = make(ParticipantJoined, event_id, user_id="u")
    return msgspec.structs.replace(event, source=source, occurred_at=at, received_at=at)


async def test_a_broker_that_is_away_hides_nothing_of_this_machine(tmp_path: Path) -> None:
    config = config_of(tmp_path, "amqp://127.0.0.1:1/")
    writer = SqliteRefusalWriter(tmp_path / "hookline-refused.db", AuditSettings())
    writer.count({("krtc-main", "bad_signature"): 8}, time.time() - 30.0)
    await writer.close()
    journal = Journal(tmp_path / "hookline-spool", RealFiles())
    journal.append([Entry(7, 100.0, pack(envelope()))])
    journal.close()
    text, human = await asyncio.to_thread(run, config)
    found, _ = await asyncio.to_thread(run, config, "--json")
    assert isinstance(human, Unreachable)
    assert "what waits in the queues is not known\n" in text
    assert str(human).startswith("RabbitMQ at 127.0.0.1:1: connection refused")
    assert str(human) not in text
    assert "spool of this machine: 1 events" in text
    assert "spool: its events are published once RabbitMQ is back" in text
    assert "krtc-main: refused (bad_signature" in text
    status = json.loads(found)
    assert (status["queues"], status["unrouted"], status["spool"]["events"]) == (None, None, 1)
    assert status["queues_fault"].startswith("RabbitMQ at 127.0.0.1:1")


def run(config: Path, *arguments: str) -> tuple[str, BaseException | None]:
    done = CliRunner().invoke(cli, ["status", "--config", str(config), *arguments])
    return done.output, done.exception


async def test_without_an_event_log_the_queues_are_shown(tmp_path: Path) -> None:
    config = config_of(tmp_path, f"sqlite:{tmp_path / 'hookline.db'}")
    config.write_text(config.read_text().replace('url = "sqlite:hookline.db"', 'url = "redis://127.0.0.1:1"'))
    async with opened(f"sqlite:{tmp_path / 'hookline.db'}"):
        text = await asyncio.to_thread(status, config)
        found = json.loads(await asyncio.to_thread(status, config, "--json"))
    assert "unrouted: 0" in text
    assert "sources: when they last sent something is not known: " in text
    assert (found["sources"], "127.0.0.1" in found["sources_fault"]) == (None, True)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (12_600, "3.5 h"), (864_000, "10 d")]
)
def test_an_age_is_short(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


async def test_a_spool_is_read_while_a_process_uses_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path, RealFiles())
    positions = journal.append([Entry(7, at_s, pack(envelope())) for at_s in (100.0, 200.0, 300.0)])
    journal.remove(positions[:1])
    found = contents(tmp_path)
    assert (found.events, found.oldest_at_s) == (2, 200.0)
    assert found.bytes > 200
    journal.close()
    assert contents(tmp_path / "none").events == 0


async def test_a_file_that_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    config = config_of(tmp_path, "sqlite:queues.db")
    config.write_text(config.read_text() + '[audit]\npath = "none/refused.db"\n')
    await (await Database.open(tmp_path / "queues.db")).close()
    shown = await asyncio.to_thread(status, config)
    assert "unrouted: 0" in shown
    assert "what the ingress of this machine has refused is not known: " in shown
    (line,) = (await asyncio.to_thread(status, config, "--json")).splitlines()
    assert f"there is no folder {tmp_path / 'none'}" in json.loads(line)["refused_fault"]


async def test_ctrl_c_ends_the_watching_without_a_failure(tmp_path: Path) -> None:
    config = config_of(tmp_path, "sqlite:queues.db")
    await (await Database.open(tmp_path / "queues.db")).close()
    command = [sys.executable, "-m", "hookline", "status", "--watch", "--json", "--config", str(config)]
    watching = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None
    assert json.loads(await watching.stdout.readline())["unrouted"] == 0
    watching.send_signal(signal.SIGINT)
    _, said = await watching.communicate()
    assert (watching.returncode, said) == (0, b"")
