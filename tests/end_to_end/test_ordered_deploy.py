"""A rolling deploy of an ordered worker, in both directions, while events of both types wait."""

import asyncio
import json
from itertools import count

from hookline.schemas.broker import Broker
from hookline.schemas.envelope import Envelope, moment, seal
from hookline.schemas.provider import Request
from hookline.schemas.providers import catalogue
from tests.contract.installations import opened
from tests.end_to_end.processes import Process, Project, eventually

ROOMS = 20
JOINED, LEFT = 103, 104

VERSION = '''
"""Writes a line for each event to the file of its room: its number, its type and the attempt, and the version."""

import asyncio
import json
import os

from hookline.events import ParticipantJoined, ParticipantLeft
from hookline import Delivery, worker


@worker({events}, queue="deployed", ordered=True)
async def deployed(event: {events_type}, delivery: Delivery) -> None:
    await asyncio.sleep(0.1)
    number = json.loads(delivery.body)["payload"]["ts"]
    file = os.open(f"rooms/{{event.room_id}}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{{number}} {{type(event).__name__}} {{delivery.attempt}} {version}\\n".encode())
    os.close(file)
'''


class Rooms:
    """Publishes events that join and leave in turn, numbered within each room, and reads what became of them."""

    def __init__(self, project: Project, broker: Broker) -> None:
        self._folder = project.folder / "rooms"
        self._folder.mkdir()
        self._broker = broker
        self._numbers = count()

    async def publish(self, events: int) -> None:
        """So many more events for each room."""
        for _ in range(events):
            number = next(self._numbers)
            kind = (JOINED, LEFT)[number % 2]
            await asyncio.gather(*(self._broker.publisher.publish(event(room, number, kind)) for room in range(ROOMS)))

    def lines(self) -> dict[str, list[list[str]]]:
        return {path.name: [line.split() for line in path.read_text().splitlines()] for path in self._folder.iterdir()}

    async def all_have(self, events: int) -> None:
        await eventually(lambda: sum(len(lines) for lines in self.lines().values()) >= ROOMS * events)

    def check(self, events: int) -> None:
        """Each event was handled once, in order, at the first attempt, by a version that wants it."""
        assert len(self.lines()) == ROOMS
        for room, lines in self.lines().items():
            assert [int(number) for number, *_ in lines] == list(range(events)), room
            assert {attempt for _, _, attempt, _ in lines} == {"1"}
            assert {version for _, kind, _, version in lines if kind == "ParticipantLeft"} == {"new"}


def event(room: int, number: int, kind: int) -> Envelope:
    payload = {"channelName": f"room-{room}", "uid": "u", "ts": number}
    body = json.dumps({"noticeId": f"{room}-{number}", "productId": 1, "eventType": kind, "payload": payload}).encode()
    received_at = moment(1_790_000_000)
    return seal(
        catalogue()["krtc"].identify(Request(body)),
        body,
        provider="krtc",
        source="krtc-main",
        content_type="application/json",
        received_at=received_at,
    )


async def start(project: Project, version: str) -> Process:
    return await asyncio.to_thread(project.start, "worker", f"{version}.py")


async def test_a_deploy_in_both_directions_loses_nothing_and_keeps_the_order(project: Project) -> None:
    for version, events in (("old", ["ParticipantJoined"]), ("new", ["ParticipantJoined", "ParticipantLeft"])):
        text = VERSION.format(events=", ".join(events), events_type=" | ".join(events), version=version)
        (project.folder / f"{version}.py").write_text(text)
    new = await start(project, "new")  # declares the bindings
    url = project.settings.broker.urls[0]
    async with opened(f"sqlite:{project.folder / 'hookline.db'}" if url.startswith("sqlite:") else url) as broker:
        rooms = Rooms(project, broker)
        await asyncio.to_thread(new.stop)
        await rooms.publish(8)
        old = await start(project, "old")
        new = await start(project, "new")
        await rooms.all_have(4)
        await asyncio.to_thread(old.stop)  # the deploy is over
        await rooms.all_have(8)
        await rooms.publish(8)
        old = await start(project, "old")  # back again
        await rooms.all_have(16)
        await asyncio.to_thread(new.stop)
    rooms.check(16)
    versions = {version for lines in rooms.lines().values() for *_, version in lines}
    assert versions == {"old", "new"}
    assert not [line for line in old.lines if line.get("outcome") == "parked"]
