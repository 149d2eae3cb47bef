"""What a process says of itself when it cannot do its work."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from hookline.runtime import readiness
from hookline.runtime.readiness import Readiness
from hookline.runtime.shutdown import Stop
from hookline.runtime.starting import Starting
from hookline.schemas.errors import Unreachable
from tests.contract.installations import eventually


class Part:
    """Is asked for its faults; `ask` may answer anew each time."""

    def __init__(self) -> None:
        self.looks = 0
        self.ask: Callable[[], list[str]] = list

    @property
    def faults(self) -> list[str]:
        self.looks += 1
        return self.ask()


@pytest.fixture
def part() -> Part:
    return Part()


@pytest.fixture
async def watched(
    part: Part, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Readiness]:
    monkeypatch.setattr(readiness, "LOOK_EVERY_S", 0.001)
    caplog.set_level(logging.INFO, "hookline")
    found = Readiness([part, Part()])
    watching = asyncio.create_task(found.watch())
    yield found
    watching.cancel()


async def looked(part: Part, times: int = 5) -> None:
    until = part.looks + times

    async def enough() -> bool:
        return part.looks >= until

    await eventually(enough)


async def test_each_change_that_lasts_is_logged_once(
    part: Part, watched: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    await looked(part)
    assert watched.faults == []
    part.ask = lambda: ["b is missing", "a is missing"]
    await looked(part)
    assert not watched.is_ready
    part.ask = list
    await looked(part)
    assert caplog.messages == ["not ready: a is missing; b is missing", "ready again"]


@pytest.mark.usefixtures("watched")
async def test_what_is_over_at_the_next_look_is_not_logged(part: Part, caplog: pytest.LogCaptureFixture) -> None:
    part.ask = lambda: ["away"] if part.looks % 2 else []
    await looked(part)
    assert caplog.messages == []


async def test_what_a_start_waits_for_is_a_fault_until_it_is_there() -> None:
    seen, answers = list[list[str]](), [Unreachable("Redis: connection refused"), Unreachable("Redis: it loads"), None]

    async def opening() -> str:
        seen.append(starting.faults)
        if (answer := answers.pop(0)) is not None:
            raise answer
        return "opened"

    starting = Starting(Stop(), waits_for=(Unreachable,), waiting=lambda _: None)
    assert await starting.opened(opening) == "opened"
    assert seen == [[], ["waiting: Redis: connection refused"], ["waiting: Redis: it loads"]]
    assert starting.faults == []
