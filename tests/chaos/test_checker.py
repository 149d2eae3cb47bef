"""The checker finds what it is there for, and excuses only what it has to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import Findings, check
from tests.chaos.events import Key, Sent, Type
from tests.chaos.faults import Fault
from tests.chaos.history import Call, Disturbance, Happened, History, Period
from tests.chaos.processes import How, Life

ROOM = "room-1"
FIRST, SECOND = 101, 102
"""Processes."""


def sent(*numbers: int, type: Type = "joined", tried_at: float = 0, acked_at: float | None = 1) -> list[Sent]:  # noqa: A002
    return [Sent(Key(ROOM, number), type, tried_at, acked_at) for number in numbers]


def call(number: int, began_at: float, ended_at: float | None, pid: int = FIRST, worker: str = "plain") -> Call:
    return Call(worker, Key(ROOM, number), pid, 1, began_at, ended_at)


def life(pid: int, ended_at: float | None = None, how: How = "killed") -> Life:
    made = Life(f"worker-{pid}", pid, 0.0, Path("log"), ended_at=ended_at)
    return replace(made, how=how) if ended_at is not None else made


def fault(kind: str, target: str, began_at: float, ended_at: float) -> Happened:
    return Happened(Fault(began_at, kind, target, ended_at - began_at), Period(began_at, ended_at))


def history(calls: Sequence[Call], events: Sequence[Sent], worker: str = "plain") -> History:
    return History(began_at=0, ended_at=100, workers=[worker], sent=events, calls=calls, lives=[life(FIRST)])


def findings(of: History) -> Findings:
    (only,) = check(of).findings
    return only


def test_a_run_in_which_each_event_is_handled_once_breaks_no_promise() -> None:
    verdict = check(history([call(0, 2, 3), call(1, 3, 4)], sent(0, 1)))
    assert not verdict.broken
    assert findings(history([call(0, 2, 3)], sent(0))).drained_s == 3


def test_an_acknowledged_event_that_is_nowhere_is_lost() -> None:
    verdict = check(history([call(0, 2, 3)], sent(0, 1)))
    assert list(verdict.findings[0].lost) == ["room-1#1"]
    assert verdict.broken == ["plain: 1 events are lost"]


def test_a_call_that_never_ended_has_handled_nothing() -> None:
    assert list(findings(history([call(0, 2, None)], sent(0))).lost) == ["room-1#0"]


def test_a_process_that_does_not_end_when_it_is_stopped_breaks_a_promise() -> None:
    of = replace(history([call(0, 2, 3)], sent(0)), lives=[life(FIRST, ended_at=70, how="hung")])
    assert check(of).broken == ["worker-101 (pid 101) did not end within 60 s of SIGTERM"]


def test_an_event_without_a_2xx_may_be_gone_but_the_run_is_not_good() -> None:
    verdict = check(history([], sent(0, acked_at=None)))
    assert verdict.findings[0].expected == 0
    assert verdict.broken[-1] == "ingress: no callback had a 2xx for 100.0 s without a fault"
    assert "1 callbacks never had a 2xx" in verdict.broken


@pytest.mark.parametrize(
    ("left", "says"),
    [
        ({"plain": {Key(ROOM, 0): "waiting"}}, "1 events still wait"),
        ({"plain": {Key(ROOM, 0): "dead"}}, "1 events are dead letters and 0 unrouted"),
        ({"unrouted": {Key(ROOM, 0): "waiting"}}, "0 events are dead letters and 1 unrouted"),
    ],
    ids=["in a queue", "dead", "unrouted"],
)
def test_an_event_that_is_somewhere_is_not_lost_but_breaks_a_promise(
    left: Mapping[str, Mapping[Key, str]], says: str
) -> None:
    verdict = check(replace(history([], sent(0)), left=left))
    assert not verdict.findings[0].lost
    assert any(says in sentence for sentence in verdict.broken)


def test_an_event_left_for_another_worker_only_is_lost() -> None:
    assert findings(replace(history([], sent(0)), left={"ordered": {Key(ROOM, 0): "waiting"}})).lost


def test_a_repeat_without_a_reason_is_found() -> None:
    twice = history([call(0, 2, 3), call(0, 5, 6, SECOND)], sent(0))
    assert len(findings(twice).unexplained) == 1
    assert any("repeated for no good reason" in sentence for sentence in check(twice).broken)


def test_an_attempt_that_was_used_up_is_found() -> None:
    blamed = history([replace(call(0, 2, 3), attempt=2)], sent(0))
    assert len(findings(blamed).blamed) == 1
    assert check(blamed).broken == ["plain: 1 events have used up attempts; no handler failed"]


def test_a_repeat_after_the_process_died_during_the_call_is_explained() -> None:
    twice = replace(history([call(0, 2, None), call(0, 14, 15, SECOND)], sent(0)), lives=[life(FIRST, 2.5)])
    assert dict(findings(twice).doubled) == {"died": 1}
    assert not check(twice).broken


@pytest.mark.parametrize(
    ("died_at", "is_explained"), [(4.0, True), (60.0, False)], ids=["at once", "long after the call"]
)
def test_a_death_explains_a_repeat_only_while_the_call_may_be_unsettled(died_at: float, is_explained: bool) -> None:  # noqa: FBT001
    calls = [call(0, 2, 3), call(0, 70, 71, SECOND)]
    found = findings(replace(history(calls, sent(0)), lives=[life(FIRST, died_at)]))
    assert bool(found.doubled) == is_explained
    assert bool(found.unexplained) != is_explained


def test_a_death_explains_nothing_that_was_repeated_before_it() -> None:
    calls = [call(0, 2, 3), call(0, 4, 5, SECOND)]
    assert findings(replace(history(calls, sent(0)), lives=[life(FIRST, 6)])).unexplained


def test_a_death_at_the_end_of_a_store_outage_explains_what_could_not_be_settled() -> None:
    calls = [call(0, 2, 3), call(0, 50, 51, SECOND)]
    outage = fault("store-freeze-long", "store", 2.5, 25)
    dies = replace(history(calls, sent(0)), lives=[life(FIRST, 26)], happened=[outage])
    assert dict(findings(dies).doubled) == {"died": 1}


def test_a_store_outage_alone_explains_no_repeat() -> None:
    calls = [call(0, 2, 3), call(0, 30, 31, SECOND)]
    assert findings(replace(history(calls, sent(0)), happened=[fault("store-kill-long", "store", 2, 25)])).unexplained


def test_an_orderly_end_explains_no_repeat() -> None:
    calls = [call(0, 2, 3), call(0, 5, 6, SECOND)]
    assert findings(replace(history(calls, sent(0)), lives=[life(FIRST, 4, "stopped")])).unexplained


@pytest.mark.parametrize(
    ("what", "until", "is_explained"),
    [
        ("frozen", 20.0, True),
        ("frozen", 5.0, False),
        ("cut off", 20.0, True),
        ("cut off", 5.0, False),
        ("cut off from RabbitMQ", 20.0, False),
    ],
    ids=["frozen past the lease", "frozen briefly", "cut off past the lease", "cut off briefly", "without RabbitMQ"],
)
def test_a_disturbance_explains_a_repeat_if_it_outlasts_the_lease(what: str, until: float, is_explained: bool) -> None:  # noqa: FBT001
    calls = [call(0, 2, 21), call(0, 15, 16, SECOND)]
    disturbed = replace(history(calls, sent(0)), disturbances=[Disturbance(FIRST, what, Period(2.5, until))])
    assert bool(findings(disturbed).doubled) == is_explained
    assert bool(findings(disturbed).unexplained) != is_explained


def test_a_disturbance_of_another_process_explains_nothing() -> None:
    calls = [call(0, 2, 3), call(0, 15, 16, SECOND)]
    disturbed = replace(history(calls, sent(0)), disturbances=[Disturbance(SECOND, "frozen", Period(2.5, 14))])
    assert findings(disturbed).unexplained


def test_a_call_that_timed_out_in_a_short_freeze_may_be_repeated() -> None:
    cancelled = replace(call(0, 2, None), cancelled_at=8.0)
    frozen = [Disturbance(FIRST, "frozen", Period(2.5, 7.9))]
    assert dict(findings(replace(history([cancelled, call(0, 9, 10)], sent(0)), disturbances=frozen)).doubled)


def test_a_transactional_row_twice_is_found_even_after_a_long_outage() -> None:
    rows = [call(0, 3, 3, FIRST, "transactional"), call(0, 9, 9, SECOND, "transactional")]
    assert findings(history(rows, sent(0), "transactional")).unexplained


def ordered(*calls: Call) -> History:
    return history([replace(each, worker="ordered") for each in calls], sent(0, 1, 2), "ordered")


def test_events_of_a_room_one_after_another_are_in_order() -> None:
    assert not check(ordered(call(0, 2, 3), call(1, 3, 4), call(2, 4, 5))).broken


def test_an_event_that_is_handled_before_an_earlier_one_of_its_room_is_out_of_order() -> None:
    found = findings(ordered(call(0, 2, 3), call(2, 4, 5), call(1, 6, 7)))
    assert len(found.out_of_order) == 1
    assert "room-1#2" in found.out_of_order[0]
    assert "overtook room-1#1" in found.out_of_order[0]


def test_an_event_that_was_never_handled_is_not_overtaken() -> None:
    assert not findings(ordered(call(0, 2, 3), call(2, 4, 5))).out_of_order


def test_a_call_beside_another_of_its_room_is_out_of_order() -> None:
    overlapping = findings(ordered(call(0, 2, 4), call(1, 3, 5, SECOND), call(2, 5, 6)))
    assert any("beside room-1#0" in sentence for sentence in overlapping.out_of_order)


def test_a_repeat_after_a_death_may_repeat_but_not_overtake() -> None:
    lives = [life(FIRST, 4.5), life(SECOND)]
    repeats = [call(0, 2, 3), call(1, 4, None), call(1, 14, 15, SECOND), call(2, 16, 17, SECOND)]
    assert not check(replace(ordered(*repeats), lives=lives)).broken
    overtakes = [call(0, 2, 3), call(1, 4, None), call(2, 14, 15, SECOND), call(1, 16, 17, SECOND)]
    assert findings(replace(ordered(*overtakes), lives=lives)).out_of_order


def test_a_frozen_process_may_end_its_call_beside_the_one_that_took_over() -> None:
    calls = [call(0, 2, 20), call(0, 15, 16, SECOND), call(1, 17, 18, SECOND), call(2, 19, 21, SECOND)]
    frozen = [Disturbance(FIRST, "frozen", Period(2.5, 19.9))]
    assert not check(replace(ordered(*calls), disturbances=frozen)).broken
    assert check(ordered(*calls)).broken


def test_an_unordered_worker_may_handle_a_room_in_any_order() -> None:
    assert not check(history([call(1, 2, 4), call(0, 3, 5)], sent(0, 1))).broken


def test_nothing_handled_while_something_waits_is_a_standstill_from_the_end_of_a_fault_on() -> None:
    of = replace(history([call(0, 2, 3), call(1, 39, 40)], sent(0, 1)), happened=[fault("kill", "worker-0", 10, 20)])
    assert findings(of).standstill_s == 20
    assert findings(of).drained_s == 20
    assert any("stood still for 20.0 s without" in sentence for sentence in check(of).broken)


def test_a_standstill_between_two_faults_counts_and_the_time_of_a_fault_does_not() -> None:
    faults = [fault("kill", "worker-0", 5, 10), fault("failover", "store", 8, 12), fault("stop", "worker-1", 30, 50)]
    of = replace(history([call(0, 50, 51)], sent(0)), happened=faults)
    assert findings(of).standstill_s == 18
    assert findings(of).slowest_s == 50


def test_an_ingress_that_answers_nothing_after_a_fault_breaks_a_promise() -> None:
    outage = fault("rabbitmq-stop-app-long", "rabbitmq", 5, 30)
    of = replace(history([call(0, 50, 51)], sent(0, tried_at=10, acked_at=50)), happened=[outage])
    assert check(of).ingress_standstill_s == 20
    assert check(of).broken == ["ingress: no callback had a 2xx for 20.0 s without a fault"]


def test_a_busy_machine_may_stand_still_a_little_longer() -> None:
    of = history([call(0, 19, 20)], sent(0))
    assert check(of).broken
    assert not check(replace(of, slowdown=6.0)).broken
    assert check(replace(of, slowdown=3.0)).broken


def test_time_in_which_nothing_waits_is_no_standstill() -> None:
    late = [*sent(0), *sent(1, acked_at=80)]
    assert findings(history([call(0, 2, 3), call(1, 80, 81)], late)).standstill_s == 2


def test_what_waits_at_the_end_has_stood_still_until_then() -> None:
    of = replace(history([], sent(0, acked_at=30)), left={"plain": {Key(ROOM, 0): "waiting"}})
    assert findings(of).standstill_s == 70
    assert findings(of).drained_s is None


def test_one_partition_that_nobody_consumes_is_a_standstill_although_others_move() -> None:
    rooms = [Key("room-1", 0), *(Key("room-2", number) for number in range(90))]
    events = [Sent(key, "joined", 0, 1) for key in rooms]
    moving = [Call("ordered", Key("room-2", number), FIRST, 1, number + 1, number + 1.5) for number in range(90)]
    stuck = Call("ordered", Key("room-1", 0), FIRST, 1, 94, 95)
    assert findings(history([*moving, stuck], events, "ordered")).standstill_s == 94


def test_the_new_versions_events_are_expected_while_they_were_certainly_bound() -> None:
    joined = sent(0)
    before, during, after = sent(1, type="left", acked_at=2), sent(2, type="left", tried_at=6), sent(3, type="left")
    during[0].acked_at, after[0].first_tried_at, after[0].acked_at = 7, 11, 12
    of = history([], [*joined, *before, *during, *after], "deploy")
    assert list(findings(replace(of, left_bound=[Period(5, 10)])).lost) == ["room-1#0", "room-1#2"]


def test_a_process_that_ended_by_itself_after_it_was_ready_breaks_a_promise(tmp_path: Path) -> None:
    ready, never_ready = tmp_path / "ready", tmp_path / "never"
    ready.write_text('{"message": "queue: amqp://…"}')
    never_ready.write_text('{"message": "RabbitMQ is away"}')
    lives = [replace(life(pid, 5, "by itself"), log=log) for pid, log in ((FIRST, ready), (SECOND, never_ready))]
    assert len(check(replace(history([], []), lives=lives)).ended_by_itself) == 1
