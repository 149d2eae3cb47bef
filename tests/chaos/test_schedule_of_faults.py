"""A schedule is drawn from its seed alone, and leaves everything running at its end."""

import pytest

from tests.chaos.faults import ALL_WORKERS, KINDS, Fault, draw

KIND_NAMES = tuple(KINDS)
SECONDS = 600.0


def test_one_seed_is_one_schedule() -> None:
    assert draw(1, SECONDS, KIND_NAMES) == draw(1, SECONDS, KIND_NAMES)
    assert draw(1, SECONDS, KIND_NAMES) != draw(2, SECONDS, KIND_NAMES)


@pytest.mark.parametrize("seed", range(20))
def test_each_kind_comes_in_a_run_of_ten_minutes(seed: int) -> None:
    assert {fault.kind for fault in draw(seed, SECONDS, KIND_NAMES)} == set(KIND_NAMES)


@pytest.mark.parametrize("seed", range(20))
def test_no_two_faults_hit_one_thing_at_a_time(seed: int) -> None:
    faults = [fault for fault in draw(seed, SECONDS, KIND_NAMES) if fault.target != ALL_WORKERS]
    for number, fault in enumerate(faults):
        for later in faults[number + 1 :]:
            if later.target == fault.target:
                assert later.at_s > fault.at_s + fault.lasts_s


@pytest.mark.parametrize("seed", range(20))
def test_faults_end_before_the_traffic_does(seed: int) -> None:
    assert all(fault.at_s + fault.lasts_s <= 0.9 * SECONDS for fault in draw(seed, SECONDS, KIND_NAMES))


@pytest.mark.parametrize("seed", range(20))
def test_the_last_deploy_leaves_the_new_version(seed: int) -> None:
    assert sum(fault.kind == "deploy" for fault in draw(seed, SECONDS, KIND_NAMES)) % 2 == 1


def test_only_the_wanted_kinds_are_drawn() -> None:
    assert {fault.kind for fault in draw(1, SECONDS, ["kill", "stop"])} == {"kill", "stop"}


def test_a_fault_reads_as_a_line() -> None:
    assert str(Fault(12.3, "cut-store-long", "worker-1", 14.0, "stall")) == (
        "  12.3 s  cut-store-long (stall): worker-1 for 14.0 s"
    )
