"""Times as options take them."""

from datetime import UTC, datetime, timedelta

import pytest

from hookline.cli.options import moment

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        pytest.param("90s", timedelta(seconds=90), id="seconds"),
        pytest.param("30m", timedelta(minutes=30), id="minutes"),
        pytest.param("2h", timedelta(hours=2), id="hours"),
        pytest.param("3d", timedelta(days=3), id="days"),
        pytest.param("1w", timedelta(weeks=1), id="weeks"),
        pytest.param("2026-01-31T10:00Z", timedelta(hours=2), id="ISO 8601 in UTC"),
        pytest.param("2026-01-31T12:00+02:00", timedelta(hours=2), id="ISO 8601 in another time zone"),
        pytest.param(" 2h ", timedelta(hours=2), id="blanks around"),
    ],
)
def test_a_time_is_relative_to_now_or_has_a_time_zone(text: str, ago: timedelta) -> None:
    assert moment(text, NOW) == NOW - ago


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("yesterday", id="a word"),
        pytest.param("2x", id="an unknown unit"),
        pytest.param("-2h", id="a negative number"),
        pytest.param("h", id="a unit without a number"),
        pytest.param("12:00", id="a time without a date"),
        pytest.param("2026-13-01T00:00Z", id="a month that does not exist"),
        pytest.param("999999999w", id="before the first year"),
    ],
)
def test_another_text_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time; expected a time ago, such as 90s"):
        moment(text, NOW)


def test_a_time_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="'2026-01-31T10:00' has no time zone"):
        moment("2026-01-31T10:00", NOW)
