"""A process that is asked to stop while some of its workers run, and the others have not begun."""

from tests.end_to_end.processes import END_S, Process, Project, until

WORKERS = '''
"""One worker that asks its process to stop, and many more, which take a while to begin."""

import asyncio
import os
import signal

from hookline import worker
from hookline.events import RoomCreated, RoomEnded


def note(line):
    with open("lines", "a") as file:
        file.write(line + "\\n")


@worker(RoomCreated, queue="first")
async def first(event: RoomCreated) -> None:
    note(f"begin {event.room_id}")
    if "MANY" in os.environ:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.5)
    note(f"end {event.room_id}")


async def other(event: RoomEnded) -> None:
    pass


for number in range(int(os.environ.get("MANY", 0))):
    globals()[f"other_{number}"] = worker(RoomEnded, queue=f"other-{number}", ordered=True)(other)
'''
MANY = {"MANY": "100"}
ROOM_CREATED = '{"noticeId": "lesson", "productId": 1, "eventType": 101, "payload": {"channelName": "lesson", "ts": 1}}'


def lines(project: Project) -> list[str]:
    file = project.folder / "lines"
    return file.read_text().splitlines() if file.exists() else []


def send(project: Project, room: str) -> None:
    body = project.folder / "body.json"
    body.write_text(ROOM_CREATED.replace("lesson", room))
    done = project.call("send", "krtc-main", "101", "--body", str(body))
    assert done.returncode == 0, done.stderr


def start(project: Project, *arguments: str, many: bool = False) -> Process:
    return project.start(*arguments, ready="" if many else "queue: ", environment=MANY if many else {})


def test_what_is_in_flight_is_finished_although_other_workers_have_not_begun(embedded_project: Project) -> None:
    project = embedded_project
    (project.folder / "many.py").write_text(WORKERS)
    run = start(project, "run", "many.py")  # declares the queue
    assert run.stop() == 0
    ingress = start(project, "ingress")
    send(project, "one")
    workers = start(project, "worker", "many.py", many=True)
    assert workers.popen.wait(END_S) == 0
    workers.follower.join(END_S)
    assert lines(project) == ["begin one", "end one"]
    assert (workers.count("queue: "), workers.count('"stopping"')) == (0, 1)
    start(project, "worker", "many.py")
    send(project, "two")
    until(lambda: "end two" in lines(project))
    assert lines(project) == ["begin one", "end one", "begin two", "end two"]
    assert ingress.stop() == 0
