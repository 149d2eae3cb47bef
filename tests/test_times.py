"""Times as an operator writes them."""

from datetime import UTC, datetime, timedelta

import pytest

from hookline.cli.options import moment

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
        ("2026-01-31T10:00Z", timedelta(hours=2)),
        ("2026-01-31T12:00+02:00", timedelta(hours=2)),
        (" 2h ", timedelta(hours=2)),
    ],
)
def test_a_time_is_so_long_ago_or_has_a_zone(text: str, ago: timedelta) -> None:
    assert moment(text, NOW) == NOW - ago


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "h", "12:00", "2026-13-01T00:00Z", "999999999w"])
def test_what_is_no_time_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time; expected a time ago, such as 90s"):
        moment(text, NOW)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="'2026-01-31T10:00' has no time zone"):
        moment("2026-01-31T10:00", NOW)
