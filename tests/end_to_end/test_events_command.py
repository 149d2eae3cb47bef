"""`hookline events`: what the event log says, from the real store of real processes."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from hookline.schemas.providers import catalogue
from tests.end_to_end.processes import Project, until
from tests.services import postgresql, redis

OF_A_STORY = len(catalogue()["krtc"].samples)
"""How many events `hookline send` sends."""


STORES = {"redis": redis.server_url, "postgresql": postgresql.server_url}


def with_own_source(folder: Path, store_url: str = "sqlite:hookline.db") -> Project:
    """A project with a source of KRTC that no other one has, whose store may be shared."""
    project = Project(folder, store_url=store_url)
    source = f"krtc-{uuid4().hex[:8]}"
    project.config.write_text(project.config.read_text().replace("[sources.krtc-main]", f"[sources.{source}]"))
    return project


def send(project: Project) -> None:
    """Have the worker `rooms` keep the callbacks of one room."""
    source = own_source(project)
    project.start("run")
    assert project.call("send", source).returncode == 0
    until(lambda: len(events(project, "--source", source)) == OF_A_STORY)


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[Project]:
    project = with_own_source(tmp_path)
    try:
        send(project)
        yield project
    finally:
        project.close()


def own_source(project: Project) -> str:
    return next(name for name in project.settings.sources if name.startswith("krtc-"))


def events(project: Project, *options: str) -> list[dict[str, str]]:
    done = project.call("events", *options, "--json", "--limit", "1000")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_are_listed_by_what_names_them(sent: Project) -> None:
    source = own_source(sent)
    found = events(sent, "--source", source)
    times = [event["occurred_at"] for event in found]
    assert times == sorted(times)
    room = found[0]["room_id"]
    assert events(sent, "--room", room) == [event for event in found if event.get("room_id") == room]
    joined = events(sent, "--room", room, "--topic", "participant.joined")
    assert {event["type"] for event in joined} == {"participant.joined"}
    user = joined[0]["user_id"]
    assert [event["id"] for event in events(sent, "--room", room, "--user", user)] == [
        event["id"] for event in found if event.get("user_id") == user
    ]
    assert events(sent, "--id", found[0]["id"]) == found[:1]
    assert events(sent, "--source", source, "--until", times[0]) == []
    assert events(sent, "--source", source, "--since", times[-1])[-1]["id"] == found[-1]["id"]
    shown = sent.call("events", "--source", source, "--limit", "2")
    assert "The latest 2 are shown" in shown.stderr
    assert all(event["id"] in shown.stdout for event in found[-2:])
    assert found[0]["id"] not in shown.stdout
    assert "delivered" not in shown.stdout
    page = sent.call("events", "--id", found[0]["id"]).stdout
    assert all(text in page for text in (found[0]["id"], room, "received_at"))


def test_following_shows_each_event_as_it_comes(sent: Project) -> None:
    source = own_source(sent)
    command = [sys.executable, "-m", "hookline", "events", "--follow", "--json", "--source", source]
    command += ["--config", str(sent.config)]
    following = subprocess.Popen(command, cwd=sent.folder, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own command
    lines: list[str] = []
    output = following.stdout
    assert output is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(output.readline, "")), daemon=True)
    reader.start()
    try:
        before = events(sent, "--source", source)
        until(lambda: len(lines) >= min(10, len(before)))
        assert sent.call("send", source).returncode == 0
        until(lambda: len({json.loads(line)["room_id"] for line in lines}) == 2)
        until(lambda: len(lines) == len(before[-10:]) + OF_A_STORY)
        ids = [json.loads(line)["id"] for line in lines]
        assert len(set(ids)) == len(ids)
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0
    finally:
        following.kill()
        following.wait()
        reader.join(30)
        output.close()


def test_events_that_were_delivered_again_are_marked(sent: Project) -> None:
    source = own_source(sent)
    assert sent.call("send", source, "participant.joined", "--duplicate").returncode == 0
    until(lambda: "(delivered 2 times)" in sent.call("events", "--source", source).stdout)


@pytest.mark.parametrize("store", STORES)
def test_events_are_listed_from_a_store_on_a_server(request: pytest.FixtureRequest, tmp_path: Path, store: str) -> None:
    project = with_own_source(tmp_path, STORES[store](request.config))
    try:
        send(project)
    finally:
        project.close()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--topic", "room.craeted"], 2, "did you mean room.created?"),
        (["--source", "krtc"], 1, "did you mean krtc-main?"),
        (["--id", "\x1b[31mno"], 1, "the event log has no event \\u001b[31mno"),
        (["--id", "x", "--room", "y"], 2, "goes with no other filter"),
        (["--follow", "--since", "2h"], 2, "neither --since nor --until"),
        (["--since", "yesterday"], 2, "'yesterday' is not a time"),
        (["--limit", "0"], 2, "0 is not in the range"),
        ([], 0, "No events yet"),
        (["--topic", "room.created"], 0, "No events match."),
        (["--room", "教室", "--since", "2h"], 1, "there are no events of a room 教室: `hookline rooms` shows"),
        (["--user", "teacher"], 1, "no event names a user teacher: `hookline events` shows"),
        (["--json", "--source", "krtc"], 1, "did you mean krtc-main?"),
    ],
)
def test_what_finds_nothing_says_why(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    done = Project(tmp_path).call("events", *arguments)
    assert (done.returncode, text in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
