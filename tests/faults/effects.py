"""The worker of every scene: its file, and how to read what it did. A flag in its folder makes it fail once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg

QUEUE = "effects"
WORKER = '''
"""Records each event. A file named like a fault, in the same folder, has the next call do that once."""

import os
import signal
import time
from pathlib import Path

from hookline.events import RoomCreated
from hookline import Backoff, Delivery, Poisoned, worker

FOLDER = Path(os.environ["COUNTED"]).parent


def asked(fault: str) -> bool:
    try:
        (FOLDER / fault).unlink()
    except FileNotFoundError:
        return False
    return True


@worker(RoomCreated, queue="effects", timeout_s=20, retry=Backoff(first_s=0.2, max_s=1, attempts=8){options})
async def effects(event: RoomCreated, delivery: Delivery) -> None:
    if asked("fail") or ((FOLDER / "fail-some").exists() and delivery.attempt == 1 and int(event.custom) % 10 == 0):
        raise ConnectionError
    if asked("poison"):
        raise Poisoned("asked to")
    if asked("block"):
        time.sleep(6)
    if asked("die-before"):
        os.kill(os.getpid(), signal.SIGKILL)
    if asked("allocate"):
        _ = [bytearray(b"x" * 2**20) for _ in range(2000)]
    {effect}
    if asked("die-after"):
        os.kill(os.getpid(), signal.SIGKILL)
'''
_APPEND = """file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{event.room_id} {event.custom} {time.monotonic()}\\n".encode())
    os.close(file)"""
_INSERT = (
    'await delivery.transaction.execute("INSERT INTO effects VALUES (%s, %s, %s)", '
    "(event.room_id, int(event.custom), time.monotonic()))"
)
TABLE = "CREATE TABLE IF NOT EXISTS effects (room text, number integer, at double precision); TRUNCATE effects"


class Effect(NamedTuple):
    room: str
    number: int
    at_s: float


def worker_file(*, transactional: bool) -> str:
    options, effect = (", transactional=True", _INSERT) if transactional else ("", _APPEND)
    return WORKER.replace("{options}", options).replace("{effect}", effect)


def of_file(path: Path) -> list[Effect]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [Effect(room, int(number), float(at_s)) for room, number, at_s in map(str.split, lines)]


def of_table(url: str) -> list[Effect]:
    with psycopg.connect(url, connect_timeout=10) as connection:
        return [Effect(*row) for row in connection.execute("SELECT room, number, at FROM effects").fetchall()]


def make_table(url: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in TABLE.split(";"):
            connection.execute(statement)


def doubled(effects: Sequence[Effect]) -> int:
    counted = Counter((each.room, each.number) for each in effects)
    return sum(count - 1 for count in counted.values())


def missing(accepted: Mapping[str, Sequence[int]], effects: Sequence[Effect]) -> set[int]:
    """The numbers of accepted events that had no effect. A number is unique over all rooms."""
    return {number for numbers in accepted.values() for number in numbers} - {each.number for each in effects}


def first_after(effects: Sequence[Effect], at_s: float) -> float | None:
    """Seconds from a moment to the first effect after it."""
    later = [each.at_s - at_s for each in effects if each.at_s > at_s]
    return min(later) if later else None
