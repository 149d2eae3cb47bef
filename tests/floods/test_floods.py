"""A short form of the floods, with lower limits and fewer clients; `make floods` runs them in full."""

from pathlib import Path

import pytest

from tests.floods.floods import MAX_ANSWER_S, Flood, floods, mixed, run

LIMITS = """
max_connections = 500
max_bytes_in_flight = 8388608
"""
SCALE = 0.1
SECONDS = 1.5
MAX_GROWTH_MIB = 48  # without the limits, the bodies alone take 75


# From many addresses, only the one that mixes all.
SHORT = [flood for flood in floods(SCALE) if flood.hostile is mixed or not flood.has_many_addresses]


@pytest.mark.parametrize("flood", SHORT, ids=lambda flood: flood.name)
async def test_memory_is_bounded_in_a_flood_and_genuine_callbacks_are_accepted(flood: Flood, tmp_path: Path) -> None:
    result = await run(flood, tmp_path, SECONDS, LIMITS)
    assert result.opened > 0
    assert result.peak_mib - result.start_mib < MAX_GROWTH_MIB, result.row()
    assert set(result.answers) == {"200"}, result.row()
    assert result.slowest_busy_s < MAX_ANSWER_S, result.row()
