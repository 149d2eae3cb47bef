"""What waits for its next attempt, as an operator sees and hastens it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from hookline.schemas.broker import Again, Done
from tests.contract.installations import envelope, eventually, opened, queue_name, taken
from tests.end_to_end.processes import Project, until
from tests.end_to_end.test_dead import BODY, address, lines

DYING = Path(__file__).with_name("retrying_that_dies.py")
WITHIN_S = 120.0
MANY = 300  # two pages of the embedded queue, nineteen of RabbitMQ

WAITING = """
import os
from hookline.events import Event
from hookline import Backoff, worker


@worker(topic="#", queue="{queue}", retry=Backoff(first_s=600))
async def billing(event: Event) -> None:
    if not os.path.exists("repaired"):
        raise ValueError("the price list of secret-room is missing")
    with open("handled", "a") as file:
        file.write(event.id + chr(10))
"""


def start(project: Project, queue: str, *arguments: str) -> None:
    (project.folder / "billing.py").write_text(WAITING.format(queue=queue))
    project.start(*arguments, "billing.py")


def send_and_fail(project: Project, queue: str, count: int) -> None:
    start(project, queue, "run")
    assert project.call("send", "krtc-main", "--count", str(count)).returncode == 0
    until(lambda: len(lines(project, "retrying", "list", queue)) == count, WITHIN_S)


def handled(project: Project) -> list[str]:
    file = project.folder / "handled"
    return file.read_text().split() if file.exists() else []


def test_what_waits_is_listed_shown_and_tried_now(project: Project) -> None:
    queue = queue_name()
    send_and_fail(project, queue, 3)
    assert {"queue": queue, "retrying": 3} in lines(project, "retrying", "list")
    first, second, _ = lines(project, "retrying", "list", queue)
    assert (first["attempt"], first["reason"]) == (2, "failed")
    assert 'in billing\n    raise ValueError("the price list' in first["error"]
    assert first["error"].rstrip().endswith("ValueError: the price list of secret-room is missing")
    shown = project.call("retrying", "show", queue, "--id", first["id"]).stdout
    assert "next attempt  2" in shown
    assert "eventType" in shown
    assert project.call("retrying", "now", queue, "--dry-run").stdout.endswith("3 events that wait would be due now\n")
    (project.folder / "repaired").touch()
    assert lines(project, "retrying", "now", queue, "--id", second["id"]) == [{"queue": queue, "due": 1, "left": 2}]
    until(lambda: handled(project) == [second["id"]])
    assert "2 events are due now, 0 wait" in project.call("retrying", "now", queue).stdout
    until(lambda: len(handled(project)) == 3)
    assert [row for row in lines(project, "retrying", "list") if row["queue"] == queue] == []


def test_what_waits_is_dropped_after_confirmation(embedded_project: Project) -> None:
    queue = queue_name()
    send_and_fail(embedded_project, queue, 2)
    refused = embedded_project.call("retrying", "drop", queue)
    assert (refused.returncode, "this would delete 2 events that wait for good; confirm it with --yes") == (
        2,
        refused.stderr.partition("Error: ")[2].strip(),
    )
    assert len(lines(embedded_project, "retrying", "list", queue)) == 2
    done = embedded_project.call("retrying", "drop", queue, "--yes")
    assert (done.returncode, done.stdout) == (0, "2 events that wait dropped, 0 left\n")


def test_the_text_of_an_error_is_not_kept_where_it_is_not_logged(embedded_project: Project) -> None:
    queue = queue_name()
    embedded_project.start("ingress")
    start(embedded_project, queue, "worker")
    assert embedded_project.call("send", "krtc-main", "101").returncode == 0
    until(lambda: len(lines(embedded_project, "retrying", "list", queue)) == 1)
    (found,) = lines(embedded_project, "retrying", "list", queue)
    assert found["error"].endswith("\nValueError")
    assert "billing.py" in found["error"]


def test_an_id_that_does_not_wait_is_exit_code_1(embedded_project: Project) -> None:
    queue = queue_name()
    send_and_fail(embedded_project, queue, 1)
    for command in ("list", "show", "now", "drop"):
        done = embedded_project.call("retrying", command, queue, "--id", "nothing")
        assert (done.returncode, done.stdout) == (1, ""), command
        assert done.stderr == "hookline: no event that waits has the id nothing\n"


def test_a_command_that_was_killed_half_way_has_lost_and_doubled_nothing(project: Project) -> None:
    queue = queue_name()
    asyncio.run(have_wait(project, queue))
    for pages in (1, 2, 5):
        call_and_die(project, pages, "retrying", "now", queue)
    until(lambda: project.call("retrying", "now", queue).returncode == 0)  # RabbitMQ may hold the dead one's lock
    found = asyncio.run(everything(project, queue))
    assert Counter(found) == Counter({(f"{number:032x}", 3): 1 for number in range(MANY)})


async def have_wait(project: Project, queue: str) -> None:
    async with opened(address(project)) as broker:
        consumer = await broker.subscribe(queue, ("#",), MANY)
        await asyncio.gather(*(broker.publisher.publish(envelope(number=number, body=BODY)) for number in range(MANY)))
        for received in await taken(consumer, MANY, WITHIN_S):
            await consumer.settle(received, Again(600, 3, "failed", kept_error="ValueError"))

        async def all_wait() -> bool:
            return await broker.retries.count(queue) == MANY

        await eventually(all_wait, WITHIN_S)


def call_and_die(project: Project, pages: int, *arguments: str) -> None:
    command: list[str | Path] = [sys.executable, DYING, str(pages), *arguments, "--config", project.config]
    environment = {**os.environ, "PYTHONPATH": str(DYING.parents[2])}
    died = subprocess.run(command, env=environment, capture_output=True, timeout=WITHIN_S, check=False)  # noqa: S603  our own command
    assert died.returncode in (-signal.SIGKILL, 0), died.stderr  # 0 if there were not so many pages


async def everything(project: Project, queue: str) -> list[tuple[str, int]]:
    """The id and attempt of each message of a queue, until none is left and none waits."""
    found: list[tuple[str, int]] = []
    async with opened(address(project)) as broker:
        assert await broker.retries.count(queue) == 0
        consumer = await broker.subscribe(queue, ("#",), 50)
        for _ in range(MANY):
            (received,) = await taken(consumer, 1, WITHIN_S)
            found.append((str(received.headers["cloudEvents_id"]), received.attempt))
            await consumer.settle(received, Done())
        try:
            (more,) = await taken(consumer, 1, 1.0)
        except TimeoutError:
            return found
        return [*found, (str(more.headers["cloudEvents_id"]), more.attempt)]
