"""Dead letters and unrouted events, as an operator handles them."""

import asyncio
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hookline.schemas.broker import Broker, Parked
from hookline.schemas.envelope import Envelope
from tests.contract.installations import envelope, eventually, opened, queue_name, taken
from tests.end_to_end.processes import COUNTER, Project, until
from tests.end_to_end.terminal import Terminal

DYING = Path(__file__).with_name("dead_that_dies.py")
WITHIN_S = 60.0
MANY = int(os.environ.get("HOOKLINE_TEST_LETTERS", "3000"))
BODY = (
    b'{"noticeId":"1","productId":1,"eventType":101,"notifyMs":1700000000000,'
    b'"payload":{"channelName":"lesson","ts":1700000000}}'
)

FAILING = """
from hookline.events import Event
from hookline import Backoff, worker


@worker(topic="#", queue="{queue}", retry=Backoff(attempts=1))
async def billing(event: Event) -> None:
    raise ValueError("the price list is missing")
"""


def address(project: Project) -> str:
    url = project.settings.broker.urls[0]
    return f"sqlite:{project.folder / url.removeprefix('sqlite:')}" if url.startswith("sqlite:") else url


def start_counter(project: Project, queue: str) -> None:
    """Start a worker that writes down what it handles."""
    (project.folder / "mine.py").write_text(COUNTER.replace('queue="counter"', f'queue="{queue}"'))
    project.start("worker", "mine.py")


def start_failing(project: Project, queue: str) -> Any:
    (project.folder / "billing.py").write_text(FAILING.format(queue=queue))
    return project.start("run", "billing.py")


def lines(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = project.call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def send_and_park(project: Project, queue: str, count: int) -> None:
    """Send callbacks to a worker that fails, until they are dead letters."""
    process = start_failing(project, queue)
    assert project.call("send", "krtc-main", "--count", str(count)).returncode == 0
    until(lambda: len(lines(project, "dead", "list", queue)) == count)
    assert process.stop() == 0


async def park(project: Project, queue: str, count: int, body: bytes = BODY, first: int = 0) -> list[str]:
    """Make dead letters in a queue, which has those before `first`. Returns the ids of their events."""
    async with opened(address(project)) as broker:
        consumer = await broker.subscribe(queue, ("#",), 500)
        events = [envelope(number=number, body=body) for number in range(first, first + count)]
        for start in range(0, count, 500):
            await _publish(broker, events[start : start + 500])
            for received in await taken(consumer, len(events[start : start + 500]), WITHIN_S):
                await consumer.settle(received, Parked("failed", "ValueError", 10))

        async def all_are_there() -> bool:
            return await broker.dead_letters.count(queue) == first + count

        await eventually(all_are_there)
    return [event.id for event in events]


async def _publish(broker: Broker, events: Sequence[Envelope]) -> None:
    await asyncio.gather(*(broker.publisher.publish(event) for event in events))


def call_and_die(project: Project, replays: int, *arguments: str) -> int:
    return subprocess.run(  # noqa: S603  our own command
        [sys.executable, DYING, str(replays), *arguments, "--config", project.config],
        env={**os.environ, "PYTHONPATH": str(DYING.parents[2])},
        timeout=WITHIN_S,
        check=False,
    ).returncode


def test_dead_letters_are_listed_shown_and_replayed_to_a_repaired_worker(project: Project) -> None:
    queue = queue_name()
    send_and_park(project, queue, 4)
    assert {"queue": queue, "letters": 4} in lines(project, "dead", "list")
    shown = project.call("dead", "show", queue).stdout
    assert "ValueError: the price list is missing" in shown
    kinds = [f'"eventType":{kind},' for kind in (101, 103, 105, 111)]  # whichever was parked first
    assert any(kind in shown.replace(" ", "") for kind in kinds)
    dry_run = project.call("dead", "replay", queue, "--dry-run").stdout
    assert dry_run.count("ValueError: the price list is missing") == 4
    assert dry_run.endswith(f"\n4 dead letters would be replayed to {queue}\n")
    start_counter(project, queue)
    assert lines(project, "dead", "replay", queue) == [{"to": queue, "replayed": 4, "left": 0}]
    until(lambda: len(project.handled()) == 4)
    assert not [row for row in lines(project, "dead", "list") if row["queue"] == queue]


def test_filters_select_dead_letters_and_the_others_stay(embedded_project: Project) -> None:
    queue = queue_name()
    send_and_park(embedded_project, queue, 4)
    first, second, *_ = lines(embedded_project, "dead", "list", queue)
    assert lines(embedded_project, "dead", "list", queue, "--limit", "1") == [first]
    assert lines(embedded_project, "dead", "list", queue, "--id", second["id"]) == [second]
    assert (
        len(
            lines(
                embedded_project, "dead", "list", queue, "--topic", "krtc.#", "--source", "krtc-main", "--since", "1h"
            )
        )
        == 4
    )
    for nothing in (["--reason", "timeout"], ["--provider", "gme"], ["--until", "1h"], ["--subject", "elsewhere"]):
        assert lines(embedded_project, "dead", "list", queue, *nothing) == []
    assert lines(embedded_project, "dead", "drop", queue, "--id", first["id"]) == [{"dropped": 1, "left": 3}]
    assert first["id"] not in [row["id"] for row in lines(embedded_project, "dead", "list", queue)]


def test_several_are_not_dropped_without_confirmation(embedded_project: Project) -> None:
    queue = queue_name()
    send_and_park(embedded_project, queue, 2)
    refused = embedded_project.call("dead", "drop", queue)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert len(lines(embedded_project, "dead", "list", queue)) == 2
    assert lines(embedded_project, "dead", "drop", queue, "--yes") == [{"dropped": 2, "left": 0}]


def test_an_unknown_dead_letter_is_exit_code_1_and_an_unknown_queue_is_exit_code_2(embedded_project: Project) -> None:
    queue = queue_name()
    send_and_park(embedded_project, queue, 1)
    assert embedded_project.call("dead", "show", queue, "--id", "nothing").returncode == 1
    unknown = embedded_project.call("dead", "list", "q-nowhere")
    assert (unknown.returncode, "there is no queue 'q-nowhere'" in unknown.stderr) == (2, True)


def test_what_is_parked_while_the_command_asks_is_not_dropped(embedded_project: Project) -> None:
    asyncio.run(park(embedded_project, "billing", 3))
    terminal = Terminal(embedded_project.folder, os.environ)
    try:
        terminal.type(f"{sys.executable} -m hookline dead drop billing --config {embedded_project.config}\n")
        terminal.wait_for("Delete 3 dead letters for good?")
        new = asyncio.run(park(embedded_project, "billing", 2, first=3))
        terminal.type("y\n")
        terminal.wait_for("3 dead letters dropped, 2 left")
    finally:
        terminal.close()
    assert [row["id"] for row in lines(embedded_project, "dead", "list", "billing")] == new


@pytest.mark.parametrize(
    "words",
    [("dead", "list"), ("dead", "drop"), ("retrying", "now"), ("retrying", "list"), ("replay", "--since=1h", "--to")],
)
def test_a_queue_that_is_not_there_is_answered_with_those_that_are(project: Project, words: tuple[str, ...]) -> None:
    async def subscribe() -> None:
        async with opened(address(project)) as broker:
            await broker.subscribe(queue, ("krtc.krtc-main.room.created",), 1)

    queue = queue_name()
    asyncio.run(subscribe())
    near, reserved = project.call(*words, f"{queue}x"), project.call(*words, "unrouted")
    assert (near.returncode, near.stdout) == (2, "")
    assert f"hookline: there is no queue '{queue}x'; did you mean {queue}?" in near.stderr
    assert (reserved.returncode, reserved.stdout) == (2, "")
    assert "`hookline unrouted list` the unrouted events" in reserved.stderr


def test_raw_writes_the_body_byte_for_byte(embedded_project: Project) -> None:
    async def park_one() -> None:
        async with opened(address(embedded_project)) as broker:
            queue = await broker.subscribe("billing", ("#",), 1)
            await broker.publisher.publish(envelope(body=b"\x00\xff\n"))
            (received,) = await taken(queue)
            await queue.settle(received, Parked("failed", "", 1))

    asyncio.run(park_one())
    command = [sys.executable, "-m", "hookline", "dead", "show", "billing", "--raw"]
    command += ["--config", str(embedded_project.config)]
    shown = subprocess.run(command, capture_output=True, cwd=embedded_project.folder, timeout=WITHIN_S, check=True)  # noqa: S603  our own command
    assert shown.stdout == b"\x00\xff\n"
    assert "\\u0000" in embedded_project.call("dead", "show", "billing").stdout
    (shown_as_json,) = lines(embedded_project, "dead", "show", "billing")
    assert shown_as_json["body_base64"] == msgspec.to_builtins(b"\x00\xff\n")


@pytest.mark.parametrize("words", [("dead", "list", "--json"), ("dead", "show", "--limit", "1000")])
def test_a_pager_that_waits_for_its_reader_locks_no_queue(project: Project, words: tuple[str, ...]) -> None:
    queue = queue_name()
    asyncio.run(park(project, queue, 500))
    command = [sys.executable, "-m", "hookline", *words, queue, "--config", str(project.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=project.folder, text=True) as looking:  # noqa: S603  our own command
        assert looking.stdout is not None
        first = looking.stdout.read(1)  # and no more: a pipe holds less than what 500 dead letters are
        assert len(lines(project, "dead", "list", queue)) == 500
        shown = first + looking.stdout.read()
    assert looking.returncode == 0
    assert sum(f"{number:032x}" in shown for number in range(500)) == 500


def test_an_unbuffered_output_that_is_interrupted_is_written_to_its_end(embedded_project: Project) -> None:
    body = b"x" * 300_000
    asyncio.run(park(embedded_project, "billing", 1, body))
    command = [sys.executable, "-m", "hookline", "dead", "show", "billing", "--raw"]
    command += ["--config", str(embedded_project.config)]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=embedded_project.folder, env=unbuffered) as showing:  # noqa: S603  our own command
        assert showing.stdout is not None
        until(lambda: _is_full(showing.stdout) or showing.poll() is not None)
        showing.send_signal(signal.SIGSTOP)  # ends the call that writes, with a part of the output
        showing.send_signal(signal.SIGCONT)
        shown = showing.stdout.read()
    assert showing.returncode == 0
    assert shown == body


def _is_full(pipe: Any) -> bool:
    """Whether nearly as many bytes wait in a pipe as it can hold."""
    (waiting,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return int(waiting) > 60_000


def test_unrouted_events_reach_a_worker_that_starts_later(project: Project) -> None:
    project.start("ingress")
    assert project.call("send", "krtc-main", "--count", "3").returncode == 0
    until(lambda: len(lines(project, "unrouted", "list")) == 3)
    start_counter(project, queue_name())
    assert lines(project, "unrouted", "replay")[0]["left"] == 0
    until(lambda: len(project.handled()) == 3)


def test_a_dry_run_of_unrouted_events_says_what_the_replay_does(project: Project) -> None:
    project.start("ingress")
    assert project.call("send", "krtc-main", "101", "--count", "3").returncode == 0
    assert project.call("send", "krtc-main", "103", "--count", "2").returncode == 0
    until(lambda: len(lines(project, "unrouted", "list")) == 5)
    worker = COUNTER.replace('topic="#", queue="counter"', f'topic="*.*.room.created", queue="{queue_name()}"')
    (project.folder / "mine.py").write_text(worker)
    project.start("worker", "mine.py")
    *shown, sum_of_dry_run = lines(project, "unrouted", "replay", "--dry-run")
    assert [each["topic"] for each in shown] == ["krtc.krtc-main.room.created"] * 3
    assert (sum_of_dry_run["would_replay"], sum_of_dry_run["would_stay"]) == (3, 2)
    (done,) = lines(project, "unrouted", "replay")
    assert (done["replayed"], done["left"]) == (3, 2)
    assert lines(project, "unrouted", "replay", "--dry-run")[-1]["would_replay"] == 0


def test_a_replay_that_was_killed_half_way_is_repeated_and_each_event_is_handled_once(project: Project) -> None:
    queue = queue_name()
    ids = asyncio.run(park(project, queue, MANY))
    start_counter(project, queue)
    assert call_and_die(project, MANY // 2, "dead", "replay", queue) == -signal.SIGKILL
    until(lambda: len(project.handled()) >= MANY // 4)
    assert len(lines(project, "dead", "list", queue, "--limit", "1")) == 1
    assert lines(project, "dead", "replay", queue)[0]["left"] == 0
    until(lambda: len(project.handled()) >= MANY)
    assert sorted(project.handled()) == sorted(ids)
