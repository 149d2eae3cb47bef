"""Deadlines of equal length that share a timer."""

import asyncio
import time

from hookline.aio.deadlines import Deadlines, time_out

SOON_S = 0.01


class Expired:
    """Collects what expires."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, item: str) -> None:
        self.items.append(item)
        self._changed.set()

    async def until(self, count: int) -> list[str]:
        while len(self.items) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.items


async def test_items_expire_in_the_order_in_which_they_were_started() -> None:
    expired = Expired()
    deadlines = Deadlines[str](SOON_S, expired)
    for item in "abc":
        deadlines.start(item)
    assert await expired.until(3) == ["a", "b", "c"]
    assert not deadlines.running


async def test_an_item_that_is_stopped_does_not_expire() -> None:
    expired = Expired()
    deadlines = Deadlines[str](SOON_S, expired)
    deadlines.start("stopped")
    deadlines.start("left")
    assert deadlines.stop("stopped")
    assert await expired.until(1) == ["left"]


async def test_stopping_says_whether_the_item_was_running() -> None:
    expired = Expired()
    deadlines = Deadlines[str](SOON_S, expired)
    deadlines.start("a")
    await expired.until(1)
    assert not deadlines.stop("a")
    assert not deadlines.stop("never started")


async def test_each_item_has_the_whole_time_after_another_started_before_it() -> None:
    expired, sooner, expired_s = Expired(), Expired(), list[float]()

    def note(item: str) -> None:
        expired_s.append(time.monotonic())
        expired(item)

    deadlines, half = Deadlines[str](4 * SOON_S, note), Deadlines[str](2 * SOON_S, sooner)
    deadlines.start("first")
    half.start("half of the time")
    await sooner.until(1)
    second_started_s = time.monotonic()
    deadlines.start("second")
    assert await expired.until(2) == ["first", "second"]
    assert expired_s[1] - second_started_s >= 4 * SOON_S


async def test_an_item_may_be_started_again() -> None:
    expired = Expired()
    deadlines = Deadlines[str](SOON_S, expired)
    deadlines.start("a")
    await expired.until(1)
    deadlines.start("a")
    assert await expired.until(2) == ["a", "a"]


async def test_an_item_that_another_one_stops_as_it_expires_does_not_expire() -> None:
    expired = Expired()

    def first_only(item: str) -> None:
        expired(item)
        deadlines.stop("b")

    deadlines = Deadlines[str](SOON_S, first_only)
    deadlines.start("a")
    deadlines.start("b")
    await expired.until(1)
    assert not deadlines.running
    assert expired.items == ["a"]


async def test_nothing_expires_after_close() -> None:
    expired, later = Expired(), Expired()
    deadlines = Deadlines[str](SOON_S, expired)
    deadlines.start("a")
    deadlines.close()
    Deadlines[str](2 * SOON_S, later).start("b")
    await later.until(1)
    assert expired.items == []


async def test_a_future_that_has_ended_is_not_timed_out() -> None:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    done.set_result(1)
    time_out(done)
    assert await done == 1


async def test_time_in_which_the_event_loop_stood_still_does_not_count() -> None:
    expired: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    deadlines = Deadlines[str](20 * SOON_S, lambda _: expired.set_result(time.monotonic()), looks_s=SOON_S)
    deadlines.start("a")
    await asyncio.sleep(0)
    time.sleep(40 * SOON_S)  # noqa: ASYNC251  a frozen process
    thawed_s = time.monotonic()
    assert await expired - thawed_s >= 15 * SOON_S
