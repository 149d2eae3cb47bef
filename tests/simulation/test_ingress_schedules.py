"""Thousands of schedules of faults around the spool, each in virtual time."""

import os

import pytest

from tests.simulation.ingress_schedules import run

SCHEDULES = int(os.environ.get("HOOKLINE_INGRESS_SCHEDULES", "2500"))
SEED = os.environ.get("HOOKLINE_INGRESS_SEED")
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_an_event_that_was_accepted_arrives_in_its_order_whatever_fails(part: int) -> None:
    for seed in range(part, SCHEDULES, PARTS) if SEED is None else (int(SEED),):
        run(seed)
