"""The examples of the guide, run as a reader runs them: with real processes, brokers and receivers."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.docs.node_packages import install
from tests.end_to_end.processes import END_S, Process, Project, eventually, until
from tests.services import postgresql

GUIDE = Path(__file__).parent.parent.parent / "docs" / "writing-workers.md"
EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
INSTALL_S = 240.0
AFTER_BACKOFF_S = 240.0  # a slow machine is several attempts late, each of which waits 2.5 times longer
WITHOUT_A_FILE = """{"BizID":1400000000,"RoomID":"100","UserID":"999","TaskID":446946705284000000,"RecordMode":2,
"Timestamp":1675930605,"EventType":3,"Detail":{"SeqNo":9}}"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    yield made
    made.close()


def send(project: Project, source: str, event: str, *options: str) -> None:
    done = project.call("send", source, event, *options)
    assert done.returncode == 0, done.stderr


def outcomes(process: Process, queue: str) -> list[str]:
    return [line["outcome"] for line in process.lines if line.get("queue") == queue]


def test_participants_who_join_and_leave_are_appended_to_a_file(project: Project) -> None:
    run = project.start("run", "attendance.py")
    send(project, "krtc-main", "103", "--duplicate")
    send(project, "krtc-main", "104")
    until(lambda: len(outcomes(run, "attendance")) == 3, END_S)
    assert run.stop() == 0
    lines = [json.loads(line) for line in (project.folder / "attendance.jsonl").read_text().splitlines()]
    assert [line.get("joined", False) for line in lines] == [True, False]
    assert [line.get("left", False) for line in lines] == [False, True]


def test_an_upload_is_archived_and_retried_after_an_error_of_the_disk(project: Project) -> None:
    run = project.start("run", "endings.py")
    send(project, "voice", "3")
    until(lambda: "again" in outcomes(run, "archive"), END_S)
    (project.folder / "archive").mkdir()
    until(lambda: "handled" in outcomes(run, "archive"), END_S)
    assert run.stop() == 0
    *before, last = outcomes(run, "archive")
    assert (set(before), last) == ({"again"}, "handled")
    (note,) = (project.folder / "archive").iterdir()
    assert note.read_text().endswith(f"(attempt {len(before) + 1})\n")


def test_a_poisoned_upload_is_parked_and_the_commands_of_the_guide_requeue_it(project: Project) -> None:
    run = project.start("run", "endings.py")
    (project.folder / "odd.json").write_text(WITHOUT_A_FILE)
    send(project, "voice", "3", "--body", "odd.json")
    until(lambda: outcomes(run, "archive") == ["parked"], END_S)
    (script,) = re.findall(r"<!-- dead -->\n```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    answers = [project.call(*shlex.split(line)[1:]) for line in script.splitlines()]
    assert [answer.returncode for answer in answers] == [0, 0, 0, 0], answers
    assert "the provider named no file" in answers[1].stdout
    until(lambda: outcomes(run, "archive") == ["parked", "parked"], END_S)
    assert run.stop() == 0


def test_what_middleware_measures_is_in_the_log(project: Project) -> None:
    run = project.start("run", "middleware.py")
    send(project, "krtc-main", "103")
    until(lambda: outcomes(run, "welcome") == ["handled"], END_S)
    run.wait_for("krtc.krtc-main.participant.joined took")
    run.wait_for("welcome, ")
    assert run.stop() == 0


def test_the_test_suite_of_the_guide_passes(project: Project) -> None:
    """In a folder of its own, with the one setting that the guide names."""
    (project.folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_attendance.py"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


class Receiver:
    """An endpoint of another team, which verifies what it receives."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.verified: list[dict[str, Any]] = []
        self.ids: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as chosen:
            self.port = int(chosen.getsockname()[1])

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_post("/events", self._receive)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        event = Webhook(SECRET).verify(await request.read(), dict(request.headers))
        self.ids.append(request.headers["webhook-id"])
        status = self.answers.pop(0) if self.answers else 204
        if status == 204:
            self.verified.append(event)
        return web.Response(status=status, headers={"Retry-After": "1"})


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Receiver:
    made = Receiver()
    monkeypatch.setenv("FORWARD_URL", f"http://127.0.0.1:{made.port}/events")
    monkeypatch.setenv("FORWARD_SECRET", SECRET)
    return made


async def test_an_event_is_forwarded_with_a_signature_that_verifies(project: Project, receiver: Receiver) -> None:
    run = project.start("run", "forward.py")
    async with receiver.listening():
        send(project, "krtc-main", "101")
        await eventually(lambda: len(receiver.verified) == 1, END_S)
    (event,) = receiver.verified
    assert event["type"] == "room.created"
    assert event["data"]["provider"] == "krtc"
    assert receiver.ids == [event["data"]["id"]]
    assert run.stop() == 0


@pytest.mark.timeout(300)
async def test_an_event_is_retried_until_its_receiver_is_back(project: Project, receiver: Receiver) -> None:
    run = project.start("run", "forward.py")
    send(project, "krtc-main", "101")
    await eventually(lambda: "again" in outcomes(run, "forward"), END_S)
    receiver.answers = [500, 429]
    async with receiver.listening():
        await eventually(lambda: outcomes(run, "forward")[-1] == "handled", AFTER_BACKOFF_S)
    *failed, last = outcomes(run, "forward")
    assert (set(failed), last) == ({"again"}, "handled")
    assert len(failed) >= 3
    assert len(set(receiver.ids)) == 1
    assert len(receiver.verified) == 1


async def test_an_event_for_a_receiver_that_is_gone_is_parked(project: Project, receiver: Receiver) -> None:
    run = project.start("run", "forward.py")
    receiver.answers = [410]
    async with receiver.listening():
        send(project, "krtc-main", "101")
        await eventually(lambda: outcomes(run, "forward") == ["parked"], END_S)


def test_without_its_secret_the_forwarding_worker_does_not_start(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARD_URL", "http://127.0.0.1:1/")
    monkeypatch.delenv("FORWARD_SECRET", raising=False)
    done = project.call("run", "forward.py")
    assert done.returncode == 1
    assert "open_receiver of worker forward failed: KeyError: 'FORWARD_SECRET'" in done.stderr


def test_every_visit_is_counted_exactly_once_in_postgresql(project: Project, request: pytest.FixtureRequest) -> None:
    url = postgresql.server_url(request.config)
    (table,) = re.findall(r"-c '(CREATE TABLE visits .*)'", GUIDE.read_text())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS visits")
        connection.execute(table)
        first, store, rest = project.config.read_text().partition("[store]\n")
        project.config.write_text(first + store + rest.replace("sqlite:hookline.db", url, 1))
        run = project.start("run", "visits.py")
        send(project, "krtc-main", "103", "--count", "20", "--duplicate")
        until(lambda: len(outcomes(run, "visits")) == 40, END_S)
        assert run.stop() == 0
        assert connection.execute("SELECT sum(visits) FROM visits").fetchone() == (20,)


@dataclass(frozen=True)
class Language:
    """How an example in another language is run. `prepare` installs its library in a folder, or skips the test."""

    file: str
    command: tuple[str, ...]
    prepare: Callable[[Path], object]


def prepare_go(folder: Path) -> None:
    for command in ("go mod init rooms", "go get github.com/rabbitmq/amqp091-go@v1", "go build -o rooms ."):
        prepared("Go", "docs/examples/consumers/consumer.go", folder, *command.split())


def prepare_java(folder: Path) -> None:
    for artifact in ("com.rabbitmq:amqp-client:5.22.0", "org.slf4j:slf4j-api:1.7.36"):
        copy = ("-Dartifact=" + artifact, "-DoutputDirectory=lib", "-Dmdep.useBaseVersion=true")
        command = ("mvn", "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy", *copy)
        prepared("Java", "docs/examples/consumers/Consumer.java", folder, "java", "--version")
        prepared("Java", "docs/examples/consumers/Consumer.java", folder, *command)


def prepared(language: str, example: str, folder: Path, *command: str) -> None:
    """Run a command of the language's own tools. Skips the test where they or their package index are missing."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"NOT TESTED: {command[0]} is not installed, so {example} is not run")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        pytest.skip(f"NOT TESTED: {language} took too long to install a library, so {example} is not run")
    if done.returncode and "consumer.go:" not in done.stderr:
        pytest.skip(f"NOT TESTED: {language} cannot install a library, so {example} is not run: {done.stderr[-500:]}")
    assert done.returncode == 0, done.stderr


LANGUAGES = (
    Language(
        "consumer.mjs",
        ("node", "consumer.mjs"),
        lambda folder: install(folder, "docs/examples/consumer.mjs is not run", "amqplib@2"),
    ),
    Language(
        "consumers/consumer.ts",
        ("node", "--import", "tsx", "consumer.ts"),
        lambda folder: install(folder, "consumers/consumer.ts is not run", "amqplib@2", "tsx@4"),
    ),
    Language("consumers/consumer.go", ("./rooms",), prepare_go),
    Language("consumers/Consumer.java", ("java", "-cp", "lib/*", "Consumer.java"), prepare_java),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.file.rpartition(".")[2])
async def test_a_program_in_another_language_reads_the_events_from_rabbitmq(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, rabbitmq_url: str, language: Language
) -> None:
    folder = tmp_path_factory.mktemp("consumer")
    shutil.copy(EXAMPLES / language.file, folder)
    language.prepare(folder)
    project = Project(tmp_path, rabbitmq_url)
    project.start("ingress")
    consumer = start_consumer(folder, language.command, rabbitmq_url)
    try:
        consumer.wait_for("waiting for events")
        send(project, "krtc-main", "101")
        await eventually(lambda: (folder / "printed").read_text().endswith("\n"), END_S)
        assert consumer.stop() in (0, 143)  # 143: a Java program that was asked to end
    finally:
        if consumer.popen.poll() is None:
            consumer.kill()
        project.close()
    kind, subject, body = (folder / "printed").read_text().split(" ", 2)
    assert kind == "room.created"
    assert json.loads(body)["payload"]["channelName"] == subject


def start_consumer(folder: Path, command: Sequence[str], url: str) -> Process:
    with (folder / "printed").open("wb") as printed:
        popen = subprocess.Popen(  # noqa: S603  the reader's own
            command,
            cwd=folder,
            env={**os.environ, "AMQP_URL": url.removesuffix("/")},
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
        )
    return Process(popen)
