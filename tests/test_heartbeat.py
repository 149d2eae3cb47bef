"""The thread that sends heartbeats goes on whatever happens to one of them."""

import logging
import threading

import pytest

from hookline.schemas.errors import Unreachable
from hookline.workers.stores import heartbeat
from hookline.workers.stores.heartbeat import Heartbeat


@pytest.mark.parametrize("error", [RuntimeError("a bug in a library"), Unreachable("away")])
async def test_a_heartbeat_that_fails_is_followed_by_others_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.001)
    sent, enough, ended = [0], threading.Event(), threading.Event()

    def beat() -> None:
        sent[0] += 1
        if sent[0] == 5:
            enough.set()
        if 1 < sent[0] < 5:
            raise error

    beating = Heartbeat(beat, ended.set)
    with caplog.at_level(logging.ERROR):
        await beating.start()
        assert enough.wait(10)
        await beating.stop()
    assert ended.is_set()
    assert len(caplog.records) == 1


async def test_a_process_says_why_the_store_takes_no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.001)
    failed, may_go_on = threading.Event(), threading.Event()
    sent = [0]

    def beat() -> None:
        sent[0] += 1
        if sent[0] == 3:
            failed.set()
            may_go_on.wait(10)
        if sent[0] > 1:
            raise Unreachable("Redis: command not allowed when used memory > 'maxmemory'")

    beating = Heartbeat(beat, may_go_on.set)
    await beating.start()
    assert failed.wait(10)
    assert beating.faults == [
        "the store does not take this process's heartbeats: Redis: command not allowed when used memory > 'maxmemory'"
    ]
    may_go_on.set()
    await beating.stop()
