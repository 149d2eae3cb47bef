"""When unwanted events of a partition make room for others."""

from hookline.workers.blocked_partitions import CROWDED_S, BlockedPartitions

PARTITION, MOST = "p00", 8


def blocked_partitions() -> BlockedPartitions:
    return BlockedPartitions(MOST)


def test_events_keep_their_place_however_many_wait_while_a_process_may_take_more() -> None:
    partitions = blocked_partitions()
    assert not any(partitions.must_make_room(PARTITION, MOST - 1, MOST - 1, at) for at in (0.0, 2 * CROWDED_S))


def test_a_process_that_may_take_no_more_makes_room_after_a_while() -> None:
    partitions = blocked_partitions()
    assert not partitions.must_make_room(PARTITION, MOST, MOST, 0.0)
    assert not partitions.must_make_room(PARTITION, MOST, MOST, CROWDED_S - 1)
    assert partitions.must_make_room(PARTITION, MOST, MOST, CROWDED_S)


def test_the_next_event_makes_room_at_once_although_the_first_has_left_its_place_empty() -> None:
    partitions = blocked_partitions()
    partitions.must_make_room(PARTITION, MOST, MOST, 0.0)
    assert partitions.must_make_room(PARTITION, MOST, MOST, CROWDED_S)
    assert partitions.must_make_room(PARTITION, MOST - 1, MOST - 1, CROWDED_S)


def test_half_of_the_messages_may_wait_for_ever() -> None:
    partitions = blocked_partitions()
    partitions.must_make_room(PARTITION, MOST, MOST, 0.0)
    assert not partitions.must_make_room(PARTITION, MOST // 2, MOST, CROWDED_S)
    assert not partitions.must_make_room(PARTITION, MOST, MOST, CROWDED_S + 1)
