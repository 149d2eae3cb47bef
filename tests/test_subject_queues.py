"""The subject queues of an ordered worker, under any sequence of arrivals, failures, completions and revocations."""

from collections import defaultdict
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hookline.schemas.process_states import HeldBackState
from hookline.workers.subject_queues import HURRIED_S, MANY, MAX_WAIT_S, Slot, SubjectQueues

HOLD_S = 60.0
SUBJECTS = ("a", "b", "c")


def queues(*, hold_s: float = HOLD_S, reorder_s: float = 0.0, max_taken: int = 256) -> SubjectQueues[int]:
    return SubjectQueues(hold_s=hold_s, reorder_s=reorder_s, max_taken=max_taken)


def add(
    target: SubjectQueues[int], item: int, subject: str | None = "a", *, occurred_s: float = 0.0, now_s: float = 0
) -> None:
    target.add(item, subject=subject, partition="p00", event_id=str(item), occurred_s=occurred_s, now_s=now_s)


def take(target: SubjectQueues[int], now_s: float = 0.0) -> Slot[int]:
    slot = target.next(now_s)
    assert slot is not None
    return slot


def take_again(target: SubjectQueues[int], failed: Slot[int], delay_s: float, now_s: float) -> Slot[int]:
    """The event whose turn it is after another has failed and its delay is over."""
    return take(target, now_s + target.again(failed, delay_s, now_s))


def full_queues() -> SubjectQueues[int]:
    """One subject has all that a process takes of a partition."""
    target = queues(max_taken=8)
    for item in range(8):
        add(target, item)
    return target


def end_and_refill(target: SubjectQueues[int], slot: Slot[int], now_s: float, *, parked: bool = False) -> None:
    """What a process has settled makes room for the next event."""
    target.done(slot, now_s, parked=parked)
    add(target, slot.item + 8, now_s=now_s)


def test_subjects_that_wait_for_a_failed_event_are_counted() -> None:
    target = queues()
    for number, subject in enumerate(("a", "a", "b", "c", "c", "c")):
        add(target, number, subject)
    first, _, other = take(target), take(target), take(target)
    assert target.held_back(now_s=0.0) is None
    target.again(first, 5.0, now_s=1.0)
    target.again(other, 5.0, now_s=2.0)
    assert target.held_back(now_s=6.0) == HeldBackState(subjects=2, events=3, event_id="0", seconds=5.0)
    target.done(take(target, 6.5), now_s=6.5)
    assert target.held_back(now_s=6.5) == HeldBackState(subjects=1, events=2, event_id="3", seconds=4.5)


@dataclass
class Model:
    """The guarantees of an ordered worker, as a simple model."""

    arrived: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    in_flight: dict[str, Slot[int]] = field(default_factory=dict)
    waits_until_s: dict[str, float] = field(default_factory=dict)


class AnyHistory(RuleBasedStateMachine):
    """One process with any subjects, any failures and any passage of time."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = queues()
        self.model = Model()
        self.now_s = 0.0
        self.count = 0

    @initialize(max_taken=st.sampled_from([2, 8, 256]))
    def begin(self, max_taken: int) -> None:
        self.queues = queues(max_taken=max_taken)

    @rule(subject=st.sampled_from(SUBJECTS))
    def arrive(self, subject: str) -> None:
        add(self.queues, self.count, subject, now_s=self.now_s)
        self.model.arrived[subject].append(self.count)
        self.count += 1

    @rule()
    def take(self) -> None:
        slot = self.queues.next(self.now_s)
        free = {subject for subject in SUBJECTS if self.is_free(subject)}
        if slot is None:
            assert not free, "a subject waits only for its own events"
            return
        subject = self.subject_of(slot)
        assert subject not in self.model.in_flight, "one at a time"
        assert slot.item == self.left(subject)[0], "in the order of arrival"
        self.model.in_flight[subject] = slot

    @precondition(lambda self: self.model.in_flight)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        slot = self.put_back(data)
        self.queues.done(slot, self.now_s)
        self.model.ended[self.subject_of(slot)].append(slot.item)

    @precondition(lambda self: self.model.in_flight)
    @rule(data=st.data(), delay_s=st.integers(0, 200))
    def fail(self, data: st.DataObject, delay_s: float) -> None:
        slot = self.put_back(data)
        subject = self.subject_of(slot)
        if slot.last:
            self.queues.done(slot, self.now_s, parked=True)
            self.model.ended[subject].append(slot.item)
        else:
            delay_s = self.queues.again(slot, delay_s, self.now_s)
            assert 0 <= delay_s <= HOLD_S
            self.model.waits_until_s[subject] = self.now_s + delay_s

    @precondition(lambda self: self.model.in_flight)
    @rule(data=st.data(), delay_s=st.integers(0, 5))
    def be_leased_elsewhere(self, data: st.DataObject, delay_s: float) -> None:
        slot = self.put_back(data)
        self.queues.again(slot, delay_s, self.now_s, was_tried=False)
        self.model.waits_until_s[self.subject_of(slot)] = self.now_s + delay_s

    @rule(seconds=st.integers(0, 100))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def wait_until_something_is_due(self) -> None:
        due_s = self.queues.due_s()
        if due_s is not None:
            self.now_s = max(self.now_s, due_s)

    @invariant()
    def nothing_is_handled_twice_or_out_of_order(self) -> None:
        for subject, ended in self.model.ended.items():
            assert ended == self.model.arrived[subject][: len(ended)]

    def teardown(self) -> None:
        """No event is lost: those that are left are handled in order."""
        for slot in self.model.in_flight.values():
            self.queues.done(slot, self.now_s)
            self.model.ended[self.subject_of(slot)].append(slot.item)
        while True:
            while (slot_ := self.queues.next(self.now_s)) is not None:
                self.model.ended[self.subject_of(slot_)].append(slot_.item)
                self.queues.done(slot_, self.now_s)
            due_s = self.queues.due_s()
            if due_s is None:
                break
            self.now_s = max(self.now_s, due_s)
        assert self.model.ended == self.model.arrived

    def is_free(self, subject: str) -> bool:
        waits = self.model.waits_until_s.get(subject, 0.0) > self.now_s
        return bool(self.left(subject)) and subject not in self.model.in_flight and not waits

    def left(self, subject: str) -> list[int]:
        return self.model.arrived[subject][len(self.model.ended[subject]) :]

    def subject_of(self, slot: Slot[int]) -> str:
        return next(subject for subject, items in self.model.arrived.items() if slot.item in items)

    def put_back(self, data: st.DataObject) -> Slot[int]:
        subject = data.draw(st.sampled_from(sorted(self.model.in_flight)))
        self.model.waits_until_s.pop(subject, None)
        return self.model.in_flight.pop(subject)


AnyHistory.TestCase.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyHistory = AnyHistory.TestCase


def test_a_failing_event_holds_back_its_subject_and_no_other() -> None:
    target = queues()
    for item, subject in enumerate("aab"):
        add(target, item, subject)
    failing = take(target)
    target.again(failing, 5, now_s=0)
    assert take(target).item == 2
    assert target.next(4) is None
    assert take(target, now_s=5).item == 0


def test_a_subject_with_many_events_does_not_fall_behind_those_with_few() -> None:
    target = queues()
    for number in range(3 * MANY):
        add(target, number, "many")
    for number in range(100):
        add(target, number, f"few-{number}")
    subjects = []
    for _ in range(2 * MANY):  # in each round all that is in flight ends
        slots = [take(target) for _ in range(3)]
        subjects += [slot.queue.subject for slot in slots]
        for slot in slots:
            target.done(slot, 0.0)
    assert subjects.count("many") == 2 * MANY


def test_subjects_with_many_events_leave_every_second_turn_to_others() -> None:
    target = queues()
    for subject in ("a", "b", "c"):
        for number in range(2 * MANY):
            add(target, number, subject)
    for slot in [take(target) for _ in range(3)]:
        target.done(slot, 0.0)  # each of them is ready, and has many events
    for number in range(3):
        add(target, number, f"few-{number}")
    turns = [(take(target).queue.subject or "").startswith("few") for _ in range(6)]
    assert turns in ([True, False] * 3, [False, True] * 3)


def test_events_without_a_subject_do_not_wait_for_each_other() -> None:
    target = queues()
    for item in range(3):
        add(target, item, None)
    assert [take(target).item for _ in range(3)] == [0, 1, 2]


def test_a_failing_event_has_its_last_attempt_after_hold_s() -> None:
    target = queues(hold_s=60)
    add(target, 0)
    waited_s = 0.0
    slots = 0
    while not (slot := take(target, waited_s)).last:
        waited_s += target.again(slot, 7, waited_s)
        slots += 1
    assert (waited_s, slots) == (60, 9)


def test_hold_s_begins_at_the_first_failure() -> None:
    target = queues(hold_s=60)
    add(target, 0)
    assert target.again(take(target, now_s=0), 7, now_s=100) == 7
    slot = take(target, now_s=107)
    assert not slot.last
    assert target.again(slot, 100, now_s=110) == 50


def test_an_event_that_was_not_tried_is_held_without_a_limit() -> None:
    target = queues(hold_s=60)
    add(target, 0)
    for minute in range(10):
        slot = take(target, now_s=60 * minute)
        assert not slot.last
        assert target.again(slot, 60, 60 * minute, was_tried=False) == 60


def test_a_failing_event_keeps_its_attempts_while_its_partition_has_nothing_else() -> None:
    target = queues(max_taken=256)
    for item in range(255):
        add(target, item)
    assert target.again(take(target), 50, now_s=0) == HURRIED_S
    add(target, 255, now_s=1)
    target.done(take(target, now_s=HURRIED_S), now_s=HURRIED_S)
    slot = take(target, now_s=HURRIED_S)
    assert (slot.item, slot.last) == (1, False)


def test_a_failing_event_keeps_its_attempts_while_other_subjects_go_on() -> None:
    target = queues(max_taken=8)
    for item, subject in enumerate("aaaabcde"):
        add(target, item, subject)
    failing, *others = (take(target) for _ in range(5))
    assert target.again(failing, 50, now_s=0) == HURRIED_S
    target.done(others[0], now_s=1)
    add(target, 8, "f", now_s=1)
    assert take(target, now_s=1).item == 8
    failing = take(target, now_s=HURRIED_S)
    assert (failing.item, failing.last) == (0, False)
    assert not take_again(target, failing, 1, now_s=6).last


def test_a_failing_event_that_keeps_others_standing_is_tried_again_for_some_seconds() -> None:
    target = full_queues()
    slot = take(target)
    for now_s in (1, 2, 3, 4):
        slot = take_again(target, slot, 1, now_s)
        assert (slot.item, slot.last) == (0, False)
    slot = take_again(target, slot, 3, now_s=5.5)
    assert (slot.item, slot.last) == (0, True)


def test_what_fails_after_it_has_one_attempt_each_until_one_succeeds() -> None:
    target = full_queues()
    slot = take_again(target, take(target), 50, now_s=0)
    for number in range(3):
        assert (slot.item, slot.last) == (number, True)
        end_and_refill(target, slot, 10 + number, parked=True)
        slot = take(target, now_s=10 + number)
    end_and_refill(target, slot, now_s=13)
    slot = take(target, now_s=13)
    assert (slot.item, slot.last) == (4, False)
    assert not take_again(target, slot, 1, now_s=14).last


def test_a_waiting_event_is_tried_again_soon_when_others_come_to_stand_behind_it() -> None:
    target = queues(max_taken=8)
    add(target, 0)
    assert target.again(take(target), 50, now_s=0) == 50
    for item in range(1, 8):
        add(target, item, now_s=10)
    assert target.due_s() == 10 + HURRIED_S
    slot = take(target, now_s=10 + HURRIED_S)
    assert not slot.last
    assert target.again(slot, 50, now_s=16) == HURRIED_S - 1


def test_an_event_that_waited_for_too_long_is_tried_again_for_some_seconds() -> None:
    target = queues()
    add(target, 0)
    slot = take(target, now_s=MAX_WAIT_S)
    assert not slot.last
    slot = take_again(target, slot, 1, now_s=MAX_WAIT_S)
    assert not slot.last
    slot = take_again(target, slot, 50, now_s=MAX_WAIT_S + 1)
    assert (slot.item, slot.last) == (0, True)


def test_without_hold_s_an_event_has_one_attempt() -> None:
    target = queues(hold_s=0)
    add(target, 0)
    assert take(target).last


def test_events_are_counted_until_they_have_ended_or_their_partition_is_left() -> None:
    target = queues()
    for item, subject in enumerate(("a", "a", "b", None)):
        add(target, item, subject)
    slot = take(target)
    target.again(slot, 0, now_s=0)
    assert target.taken("p00") == 4
    target.done(take(target), now_s=0)
    assert target.taken("p00") == 3
    last = take(target)
    target.leave("p00")
    target.done(last, now_s=0)
    assert target.taken("p00") == 0
    add(target, 0)
    assert target.taken("p00") == 1


def test_events_that_wait_in_a_revoked_partition_are_dropped() -> None:
    target = queues()
    for item in range(3):
        add(target, item)
    slot = take(target)
    target.leave("p00")
    target.again(slot, 0, now_s=0)
    assert target.next(1000) is None
    add(target, 0)
    assert take(target).item == 0


def test_a_repeat_that_waited_while_its_event_was_parked_is_marked() -> None:
    target = queues()
    for event_id in ("e", "other", "e"):
        target.add(0, subject="a", partition="p00", event_id=event_id, occurred_s=0, now_s=0)
    repeats = []
    for number in range(3):
        slot = take(target)
        repeats.append(slot.is_repeat)
        target.done(slot, 0, parked=number == 0)
    target.add(0, subject="a", partition="p00", event_id="e", occurred_s=0, now_s=0)
    assert repeats == [False, False, True]
    assert not take(target).is_repeat


def test_events_are_held_back_and_sorted_by_their_time() -> None:
    target = queues(reorder_s=5)
    for now_s, (item, occurred_s) in enumerate([(0, 30.0), (1, 10.0), (2, 20.0)]):
        add(target, item, occurred_s=occurred_s, now_s=now_s)
    assert target.next(4.9) is None
    assert target.due_s() == 5
    order = []
    while (slot := target.next(5)) is not None:
        order.append(slot.item)
        target.done(slot, 5)
    assert order == [1, 2, 0]


def test_an_event_does_not_wait_for_one_that_occurred_later() -> None:
    target = queues(reorder_s=5)
    add(target, 0, occurred_s=10, now_s=0)
    add(target, 1, occurred_s=20, now_s=3)
    slot = take(target, now_s=5)
    assert slot.item == 0
    target.done(slot, 5)
    assert target.next(7.9) is None
    assert take(target, now_s=8).item == 1


def test_events_of_the_same_moment_keep_the_order_of_arrival() -> None:
    target = queues(reorder_s=5)
    for item in range(3):
        add(target, item, occurred_s=10, now_s=item)
    order = []
    while (slot := target.next(7)) is not None:
        order.append(slot.item)
        target.done(slot, 7)
    assert order == [0, 1, 2]
