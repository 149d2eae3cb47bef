"""The text log: coloured on a terminal only, and safe from what a sender wrote."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator

import pytest

from hookline.runtime import logs
from hookline.runtime.outcome_log import OutcomeLog
from hookline.schemas.broker import Outcome, Parked, Received
from hookline.workers.work import Work

Log = Callable[[io.StringIO, Outcome], str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Logs a delivery with an outcome to a stream. Returns what was written."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(warnings, "filters", [])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def write(stream: io.StringIO, outcome: Outcome) -> str:
        logs.set_up("text", stream)
        OutcomeLog(1).report("q", [(Work(Received({}, "", b"", 1, None), None, (), outcome), 0.001)])
        root.handlers[0].flush()
        return stream.getvalue()

    yield write
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_python_warns_of_is_a_line_of_the_log(log: Log) -> None:
    stream = io.StringIO()
    log(stream, Parked("failed", "", 1))
    warnings.warn_explicit("coroutine 'sleep' was never awaited", RuntimeWarning, "billing.py", 7)
    for handler in logging.getLogger().handlers:
        handler.flush()
    line = "warning: billing.py:7: RuntimeWarning: coroutine 'sleep' was never awaited; write `await` before the call"
    assert line in stream.getvalue().splitlines()[-1]


def test_a_terminal_gets_colours(log: Log) -> None:
    assert "\x1b[31mparked\x1b[0m" in log(Terminal(), Parked("failed", "", 1))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:hookline.db", "sqlite:hookline.db"),
        ("amqp://host/vhost", "amqp://host/vhost"),
        ("amqp://user:hunter2@host/vhost", "amqp://user:***@host/vhost"),
        ("amqp://user@host", "amqp://user@host"),
        ("amqp://user:hunter2@hunter2/hunter2#hunter2@host/vhost", "amqp://user:***@host/vhost"),
        ("postgresql://host/d?password=hunter2", "postgresql://host/d"),
    ],
)
def test_a_url_is_shown_without_any_part_of_its_password(url: str, shown: str) -> None:
    assert logs.without_password(url) == shown


def test_a_pipe_gets_no_colours(log: Log) -> None:
    assert "\x1b" not in log(io.StringIO(), Parked("failed", "", 1))


def test_no_color_is_respected(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in log(Terminal(), Parked("failed", "", 1))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b[2J", "\\u001b[2J", id="a terminal sequence"),
        pytest.param("a\nb", "a\\u000ab", id="a new line"),
        pytest.param("\u202ea", "\\u202ea", id="a change of direction"),
        pytest.param("会议室 😀", "会议室 😀", id="another script"),
    ],
)
def test_a_text_for_a_line_cannot_move_the_cursor(text: str, shown: str) -> None:
    assert logs.printable(text) == shown
