"""Whether recent calls were quick, which decides how many events are claimed ahead."""

from hookline.workers.handler import HandlerLatency


def test_calls_count_as_slow_until_one_was_quick() -> None:
    latency = HandlerLatency()
    assert not latency.is_quick
    latency.record([0.001])
    assert latency.is_quick


def test_one_slow_call_counts_for_many_quick_ones() -> None:
    latency = HandlerLatency()
    latency.record([0])
    latency.record([10])
    for _ in range(20):
        latency.record([0])
    assert not latency.is_quick
    for _ in range(200):
        latency.record([0])
    assert latency.is_quick


def test_calls_of_20_ms_are_not_quick() -> None:
    latency = HandlerLatency()
    for _ in range(50):
        latency.record([0.02])
    assert not latency.is_quick
