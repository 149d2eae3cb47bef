"""`hookline listen` as a process: it answers like the ingress, shows what arrives, and stores nothing."""

import asyncio
import json
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hookline.schemas.provider import AnySource
from tests.end_to_end.processes import Project
from tests.ingress.callbacks import post, signed
from tests.ingress.http_client import connected
from tests.vector_cases import with_secrets

END_S = 60


class Listening:
    def __init__(self, popen: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self._popen = popen

    async def send(self, request: bytes) -> int:
        async with connected(self.port) as client:
            answer = await client.send_until_answered([request])
        assert answer is not None
        return answer.status

    def line(self) -> str:
        assert self._popen.stdout is not None
        return self._popen.stdout.readline()

    def next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line())
        return found

    def errors(self) -> str:
        """What it has said since it listens. It must have ended."""
        assert self._popen.stderr is not None
        return self._popen.stderr.read()

    def stop(self) -> int:
        self._popen.send_signal(signal.SIGINT)
        return self._popen.wait(END_S)


@contextmanager
def listening(project: Project, *arguments: str) -> Iterator[Listening]:
    popen = subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, "-m", "hookline", "listen", "--port", "0", *arguments, "--config", str(project.config)],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert popen.stderr is not None
        for line in popen.stderr:
            if found := re.search(r"Listening on http://127\.0\.0\.1:(\d+)\. Nothing is stored", line):
                yield Listening(popen, int(found[1]))
                break
        else:
            pytest.fail("it did not listen")
    finally:
        popen.kill()
        popen.communicate()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def genuine(source: AnySource, age_s: float = 0) -> bytes:
    return post(source, signed(source, at_s=time.time() - age_s))


async def test_everything_that_arrives_is_shown_and_nothing_is_stored(project: Project) -> None:
    sources = project.settings.sources
    calls, daily = sources["calls"], sources["daily-main"]
    forged = signed(with_secrets(calls, ["the-secret-of-another"]), at_s=time.time())
    before = {path.name for path in project.folder.iterdir()}
    with listening(project, "--json", "--body") as running:
        assert await running.send(genuine(calls)) == 200
        accepted = running.next()
        assert await running.send(genuine(calls, age_s=3604)) == 401
        late = running.next()
        assert await running.send(post(calls, forged)) == 401
        wrong = running.next()
        assert await running.send(post(daily, replace(forged, body=b'{"test":"test"}', headers={}))) == 200
        checked = running.next()
        assert await running.send(post(replace(calls, name="call"), forged)) == 404
        astray = running.next()
        assert await running.send(post(calls).replace(b"POST", b"GET")) == 405
        get = running.next()
        assert running.stop() == 0
    assert (accepted["result"], accepted["topic"]) == ("accepted", "netease.calls.room.created")
    assert accepted["events"][0]["topic"] == "room.created"
    assert msgspec.json.decode(accepted["body"])
    assert [(each["result"], each["status"], each["reason"]) for each in (late, wrong, astray, get)] == [
        ("refused", 401, "stale_timestamp"),
        ("refused", 401, "bad_signature"),
        ("refused", 404, "unknown_source"),
        ("refused", 405, "method_not_allowed"),
    ]
    assert {each["step"]: each["result"] for each in late["steps"]}["signature"] == "fits"
    assert astray["steps"][0]["text"] == "no source has /hooks/call; did you mean /hooks/calls?"
    assert (checked["result"], checked["source"]) == ("checked", "daily-main")
    assert {path.name for path in project.folder.iterdir()} == before


async def test_what_could_not_be_read_is_shown_whatever_source_is_asked_for(project: Project) -> None:
    """The likeliest mistake with a URL in a console: https for http."""
    with listening(project, "--json", "--source", "calls") as running:
        with suppress(ssl.SSLError, ConnectionError):
            await asyncio.open_connection("127.0.0.1", running.port, ssl=ssl.create_default_context())
        tls = running.next()
    with listening(project) as running:
        assert await running.send(b"\x00\x01\r\n\r\n") == 400
        line = running.line()
    assert (tls["source"], tls["result"], tls["status"], tls["reason"]) == ("", "refused", 400, "malformed_request")
    assert tls["detail"].startswith("the sender speaks TLS, and this port does not")
    assert "400 malformed_request from 127.0.0.1: this is not a valid HTTP request" in line


async def test_lines_are_for_people(project: Project) -> None:
    calls = project.settings.sources["calls"]
    with listening(project) as running:
        await running.send(genuine(calls))
        first, event = running.line(), running.line()
        await running.send(genuine(calls, age_s=3604))
        refused, *steps = (running.line() for _ in range(6))
    assert re.fullmatch(r"[\d:]{8}  calls +accepted  room\.created of \S+ \([0-9a-f]{32}\)\n", first)
    assert event.startswith("    room.created room_id=")
    assert "401 stale_timestamp to POST /hooks/calls from 127.0.0.1: the time stamp is 3,60" in refused
    assert [line.split()[:2] for line in steps] == [
        ["fits", "path"], ["fits", "head"], ["fits", "body"], ["fits", "signature"], ["fails", "time"],
    ]  # fmt: skip


async def test_filters_choose_what_is_shown_and_change_no_answer(project: Project) -> None:
    calls, krtc = (project.settings.sources[name] for name in ("calls", "krtc-main"))
    with listening(project, "--json", "--source", "calls", "--topic", "*.*.participant.#") as running:
        assert await running.send(genuine(krtc)) == 200
        assert await running.send(genuine(calls)) == 200
        assert await running.send(genuine(calls, age_s=3604)) == 401
        assert running.next()["result"] == "refused"


async def test_a_saved_request_can_be_verified(project: Project) -> None:
    calls = project.settings.sources["calls"]
    request = genuine(calls, age_s=7200)
    with listening(project, "--json", "--save", "saved") as running:
        await running.send(request)
        place = running.next()["saved"]
    file = project.folder / place
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (request, 0o600)
    assert project.call("verify", "calls", "--request", place).returncode == 1
    assert project.call("verify", "calls", "--request", place, "--at", "2h").returncode == 0


async def test_a_folder_of_saved_requests_is_bounded_and_the_end_is_said(project: Project) -> None:
    calls = project.settings.sources["calls"]
    with listening(project, "--json", "--save", "saved", "--save-max-files", "2") as running:
        await running.send(genuine(calls, age_s=7200))
        running.next()
    with listening(project, "--json", "--save", "saved", "--save-max-files", "2") as running:
        for _ in range(3):
            await running.send(genuine(calls, age_s=7200))
        places = [running.next().get("saved") for _ in range(3)]
        assert running.stop() == 0
        said = running.errors()
    assert places == ["saved/2.http", None, None]
    assert sorted(path.name for path in (project.folder / "saved").iterdir()) == ["1.http", "2.http"]
    assert said.count("it has as many requests as --save-max-files allows; no more requests are saved") == 1


WORKERS = """
from hookline import worker
from hookline.events import ParticipantJoined, RoomCreated

@worker(RoomCreated, queue="rooms-seen")
async def rooms_seen(event: RoomCreated) -> None:
    print("never on stdout", file=__import__("sys").stderr)

@worker(RoomCreated, queue="broken")
async def broken(event: RoomCreated) -> None:
    raise AttributeError("of the worker")

@worker(ParticipantJoined, queue="others")
async def others(event: ParticipantJoined) -> None: ...
"""


async def test_workers_are_called_once_with_what_they_want(project: Project) -> None:
    (project.folder / "mine.py").write_text(WORKERS)
    calls = project.settings.sources["calls"]
    request = genuine(calls)
    with listening(project, "mine.py", "--json") as running:
        await running.send(request)
        accepted, *first = (running.next() for _ in range(3))
        await running.send(request)
        _, *second = (running.next() for _ in range(3))
    by_queue = {each["queue"]: each for each in first}
    assert (by_queue["rooms-seen"]["result"], by_queue["rooms-seen"]["reason"]) == ("called", "handled")
    assert (by_queue["broken"]["result"], by_queue["broken"]["reason"]) == ("failed", "failed")
    assert by_queue["broken"]["error"].endswith("AttributeError: of the worker\n")
    assert {each["id"] for each in first} == {accepted["id"]}
    assert {each["queue"]: each["reason"] for each in second}["rooms-seen"] == "duplicate"


async def test_what_a_worker_did_stands_below_its_event(project: Project) -> None:
    (project.folder / "mine.py").write_text(WORKERS)
    with listening(project, "mine.py") as running:
        await running.send(genuine(project.settings.sources["calls"]))
        lines = [running.line() for _ in range(4)]
    assert "  accepted  " in lines[0]
    assert re.search(r"calls +(called  |failed  )  (rooms-seen: handled|broken: failed), [\d.]+ ms", lines[2])


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--source", "call"], 2, "there is no source 'call'; did you mean calls?"),
        (["--topic", "UPPER"], 2, "is not words of a-z"),
        (["--port", "70000"], 2, "70000"),
        (["--save", "hookline.toml"], 2, "is a file"),
        (["nothing.py"], 2, "nothing.py"),
    ],
    ids=["source", "topic", "port", "folder", "worker"],
)
def test_a_wrong_argument_is_one_sentence(project: Project, arguments: list[str], code: int, text: str) -> None:
    done = project.call("listen", *arguments)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr


def test_a_taken_port_is_said(project: Project) -> None:
    with listening(project) as running:
        done = project.call("listen", "--port", str(running.port))
    assert (done.returncode, "an ingress of Hookline already listens there" in done.stderr) == (3, True)
