from datetime import UTC, datetime, timedelta

import click
import pytest

from streams.cli.since import Since


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), (" 2h ", 7200), ("1 d", 86400)])
def test_a_duration_is_that_long_ago(text, seconds):
    moment = Since().convert(text, None, None)
    ago = datetime.now(UTC) - moment
    assert timedelta(seconds=seconds) <= ago < timedelta(seconds=seconds + 5)


def test_a_time_without_zone_is_local():
    expected = datetime(2026, 11, 23, 10, 0).astimezone()
    assert Since().convert("2026-11-23T10:00", None, None) == expected
    assert Since().convert("2026-11-23T10:00:00Z", None, None) == datetime(2026, 11, 23, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", ["soon", "15", "-5m", "", "999999d", "9999999d", "0001-01-01T00:00"])
def test_anything_else_is_a_usage_error(text):
    with pytest.raises(click.BadParameter, match="neither a duration"):
        Since().convert(text, None, None)
