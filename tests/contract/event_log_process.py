"""A process that appends events until it is killed: `python -m tests.contract.event_log_process ADDRESS ROOM`."""

import asyncio
import sys

from hookline.events import ParticipantJoined
from tests.contract.event_logs import opened_log
from tests.events import make

AT_A_TIME = 20
SAID_AFTER = 200


def event(room: str, number: int) -> ParticipantJoined:
    return make(ParticipantJoined, f"{room} {number}", at_s=number, room_id=room, user_id=str(number))


async def main(address: str, room: str) -> None:
    async with opened_log(address) as log:
        for first in range(0, 10**9, AT_A_TIME):
            await asyncio.gather(*(log.append(event(room, number)) for number in range(first, first + AT_A_TIME)))
            if first >= SAID_AFTER:
                sys.stdout.write(f"{first + AT_A_TIME}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
