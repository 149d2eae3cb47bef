"""A worker whose effect is a row, committed together with the record that the event is finished."""

import os
import time

from hookline import Delivery, worker
from hookline.events import ParticipantJoined, ParticipantLeft
from tests.chaos.workers.recording import TIMEOUT_S, recorded

TABLE = "CREATE TABLE chaos_rows (room text, number integer, pid integer, attempt integer, at double precision)"
_INSERT = "INSERT INTO chaos_rows VALUES (%s, %s, %s, %s, %s)"


@worker(ParticipantJoined, ParticipantLeft, queue="transactional", transactional=True, timeout_s=TIMEOUT_S)
async def transactional(event: ParticipantJoined | ParticipantLeft, delivery: Delivery) -> None:
    row = (event.room_id, int(event.user_id), os.getpid(), delivery.attempt, time.monotonic())
    async with recorded("transactional", event, delivery):
        await delivery.transaction.execute(_INSERT, row)
