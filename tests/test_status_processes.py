"""What `hookline status` says about processes and their calls."""

import pytest

from hookline.admin.visit import SILENT, TOKEN_REFUSED, OnPort
from hookline.cli.status_processes import process_hints
from hookline.schemas.process_states import BlockedState, CallState, HeldBackState, ProcessState, WorkerState


def hints(*, running: int, oldest_s: float, overdue: int = 0, unsettled: int = 9, line: str = "billing.py:7") -> str:
    call = CallState(event_id="e1", topic="krtc.main.room.created", attempt=1, seconds=oldest_s, line=line)
    worker = WorkerState(
        queue="billing",
        concurrency=4,
        timeout_s=30.0,
        running=running,
        overdue=overdue,
        unsettled=unsettled,
        oldest_call=call if running else None,
    )
    process = ProcessState(role="worker", pid=7, version="1", broker="b", ready=True, workers=[worker])
    return "\n".join(process_hints([OnPort(9464, [process])]))


def test_calls_that_fill_all_places_for_long_have_a_next_step() -> None:
    said = "billing: all 4 calls of worker 7 are running, the oldest for 12 s at billing.py:7, with event e1"
    assert f"{said}, and others wait in it (5)" in hints(running=4, oldest_s=12.0)


@pytest.mark.parametrize(
    ("running", "oldest_s", "unsettled"),
    [
        pytest.param(4, 0.01, 9, id="quick calls"),
        pytest.param(3, 12.0, 9, id="a place is free"),
        pytest.param(4, 12.0, 4, id="nothing waits"),
        pytest.param(0, 0.0, 0, id="nothing runs"),
    ],
)
def test_a_worker_that_is_merely_busy_has_none(running: int, oldest_s: float, unsettled: int) -> None:
    assert hints(running=running, oldest_s=oldest_s, unsettled=unsettled) == ""


def test_a_call_that_runs_on_after_its_time_out_is_named_first() -> None:
    assert "run on after their time-out of 30 s (1 in worker 7)" in hints(running=4, oldest_s=99.0, overdue=1)


def test_a_long_call_is_named_although_places_are_free() -> None:
    assert hints(running=1, oldest_s=180.0, line="") == (
        "billing: calls are running in worker 7, the oldest for 3 min, with event e1"
    )


@pytest.mark.parametrize(
    ("blocked", "said"),
    [
        (BlockedState(share=0.4, line="billing.py:7"), "worker 7: billing.py:7 blocks it, for 40% of the last minute"),
        (
            BlockedState(share=0.4),
            "worker 7: it could not run for 40% of the last minute: has this machine enough CPU?",
        ),
        (BlockedState(share=0.05, line="billing.py:7"), ""),
        (None, ""),
    ],
)
def test_a_line_that_blocks_a_process_is_named(blocked: BlockedState | None, said: str) -> None:
    process = ProcessState(role="worker", pid=7, version="1", broker="b", ready=True, blocked=blocked)
    found = "\n".join(process_hints([OnPort(9464, [process])]))
    assert (found[: len(said)], bool(found)) == (said, bool(said))


def test_rooms_that_a_failed_event_holds_back_are_said() -> None:
    held = HeldBackState(subjects=1, events=12, event_id="e1", seconds=41.0)
    worker = WorkerState(
        queue="billing",
        concurrency=4,
        timeout_s=30.0,
        running=0,
        overdue=0,
        unsettled=13,
        oldest_call=None,
        held_back=held,
    )
    process = ProcessState(role="worker", pid=7, version="1", broker="b", ready=True, workers=[worker])
    (said,) = process_hints([OnPort(9464, [process])])
    assert said.startswith(
        "billing: subjects (rooms, say) are held back in worker 7 by events that failed (1, with 12 events behind), "
        "the longest for 41 s by event e1: "
    )


def test_a_process_that_is_not_ready_says_why() -> None:
    process = ProcessState(role="ingress", pid=7, version="1", broker="b", ready=False, reasons=["disk_full"])
    assert process_hints([OnPort(9464, [process])]) == ["ingress 7 is not ready: disk_full"]


def test_an_ingress_whose_broker_is_in_an_alarm_says_so_although_it_is_ready() -> None:
    process = ProcessState(role="ingress", pid=7, version="1", broker="b", ready=True, broker_fault="broker_alarm")
    (said,) = process_hints([OnPort(9464, [process])])
    assert said.startswith("ingress 7: RabbitMQ takes no events, because of an alarm of its memory or disk: ")


def test_an_ingress_whose_spool_takes_nothing_says_why() -> None:
    full = "it is full (spool.max_bytes)"
    process = ProcessState(role="ingress", pid=7, version="1", broker="b", ready=True, spool_fault=full)
    (said,) = process_hints([OnPort(9464, [process])])
    assert said == f"ingress 7: its spool takes no events: {full}: what RabbitMQ does not take is answered 503"


def test_a_port_that_does_not_say_what_its_process_does_has_a_reason() -> None:
    silent, refusing = process_hints([OnPort(9464, fault=SILENT), OnPort(9465, fault=TOKEN_REFUSED)])
    assert silent.startswith("port 9464: what listens there does not answer within 2 s")
    assert refusing == "port 9465: it refuses the token of [admin]: it has other settings than this command"
