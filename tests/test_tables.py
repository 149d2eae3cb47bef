"""Tables: readable on a narrow terminal, plain in a pipe, and never at the mercy of what a sender wrote."""

import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from rich.cells import cell_len

from hookline.cli import events, message_output, refused, rooms, status, status_processes, tables, topics

COLUMNS = (("time",), ("topic", "id"), ("detail",))
ID = "0d7f9225e4d20093946bc69519b09046"
ROW = ("2026-01-31 12:00:00", "krtc.krtc-main.participant.joined", ID, "ValueError: the price list is missing")
HOSTILE = "[red]a[/red] [link=https://evil.test]b[/link] :smile: \x1b[31mc\x1b[2J\x07\r\n\u202ed"
SHOWN = "[red]a[/red] [link=https://evil.test]b[/link] :smile: \\u001b[31mc\\u001b[2J\\u0007\\u000d\\u000a\\u202ed"
END = b"\x04"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

Terminal = Callable[..., str]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Shows a table on a pseudo-terminal of so many columns. Returns what was written to it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def show(width: int, *rows: tables.Row, columns: tables.Columns = COLUMNS, style: str = "") -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        with pseudo_terminal() as (screen, read):
            monkeypatch.setattr(sys, "stdout", screen)
            tables.show(columns, rows, style=lambda _: style)
            return read()

    return show


@contextmanager
def pseudo_terminal() -> Iterator[tuple[TextIO, Callable[[], str]]]:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(theirs, "w", encoding="utf-8") as screen:
        written = bytearray()

        def follow() -> None:
            while not written.endswith(END):
                written.extend(reader.read(4096))

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()

        def read() -> str:
            screen.write(END.decode())
            screen.flush()
            follower.join(60)
            return written.removesuffix(END).decode().replace("\r\n", "\n")

        yield screen, read


def letters(text: str) -> Counter[str]:
    return Counter("".join(plain(text)).replace(" ", ""))


def plain(written: str) -> list[str]:
    """The lines without their styles."""
    return [line.rstrip() for line in ESCAPE.sub("", written).splitlines()]


def test_a_pipe_gets_one_line_for_each_row_and_no_drawing(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(COLUMNS, [ROW, ("later", "", ID, "x" * 200)])
    assert capsys.readouterr().out == (
        "time                 topic                              id                                detail\n"
        f"2026-01-31 12:00:00  krtc.krtc-main.participant.joined  {ID}  ValueError: the price list is missing\n"
        f"later                -                                  {ID}  {'x' * 200}\n"
    )


def test_numbers_are_aligned_on_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show([("events",), ("topic",)], [("5", "a"), ("1000", "b")], numbers={"events"})
    assert capsys.readouterr().out == "events  topic\n     5  a\n  1000  b\n"


def test_columns_are_aligned_beside_characters_of_double_width(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show([("room",), ("user",)], [("会议室", "a"), ("lesson", "b")])
    assert capsys.readouterr().out == "room    user\n会议室  a\nlesson  b\n"


def test_a_wide_terminal_shows_a_row_in_one_line(terminal: Terminal) -> None:
    assert "  ".join(ROW) in plain(terminal(200, ROW))


def test_a_row_takes_several_lines_on_a_narrow_terminal(terminal: Terminal) -> None:
    assert plain(terminal(80, ROW)) == [
        "time",
        "  topic                              id",
        "    detail",
        "─" * 69,
        "2026-01-31 12:00:00",
        f"  krtc.krtc-main.participant.joined  {ID}",
        "    ValueError: the price list is missing",
    ]


def test_the_last_column_is_wrapped_beside_the_others(terminal: Terminal) -> None:
    columns = (("time",), ("topic",), ("detail",))
    assert plain(terminal(64, (*ROW[:2], "the price list is missing " * 2), columns=columns))[-2:] == [
        "2026-01-31 12:00:00  krtc.krtc-main.participant.joined",
        "  the price list is missing the price list is missing",
    ]
    assert plain(terminal(100, (*ROW[:2], "the price list is missing " * 2), columns=columns))[-2:] == [
        "2026-01-31 12:00:00  krtc.krtc-main.participant.joined  the price list is missing the price list is",
        "                                                        missing",
    ]


def test_a_first_line_is_not_repeated_while_it_stays_the_same(terminal: Terminal) -> None:
    rows = [("lesson", "teacher", "x" * 40), ("lesson", "student", "y" * 40), ("exam", "teacher", "z" * 40)]
    assert plain(terminal(52, *rows, columns=[("room",), ("user", "detail")]))[3:] == [
        "lesson",
        f"  teacher  {'x' * 40}",
        f"  student  {'y' * 40}",
        "",
        "exam",
        f"  teacher  {'z' * 40}",
    ]


def test_a_long_table_has_one_head_and_columns_of_one_width(terminal: Terminal) -> None:
    lines = plain(terminal(80, *[(*ROW[:2], f"{number:032}", "failed") for number in range(500)]))
    assert sum("topic" in line for line in lines) == 1
    assert [line.split()[1] for line in lines if " 000" in line] == [f"{number:032}" for number in range(500)]


@pytest.mark.parametrize("width", [pytest.param(20, id="narrower than the id"), pytest.param(33, id="hardly wider")])
def test_no_id_is_cut_off(terminal: Terminal, width: int) -> None:
    assert ID in "".join(plain(terminal(width, (ID,), columns=[("id",)])))


def test_an_id_stays_whole_beside_a_longer_word(terminal: Terminal) -> None:
    lines = plain(terminal(80, (*ROW[:3], "a-path/" * 20)))
    assert any(ID in line for line in lines)


def test_nothing_is_cut_off_on_a_terminal_too_narrow_for_the_words(terminal: Terminal) -> None:
    assert letters(terminal(40, ROW)) >= letters(" ".join(ROW))


@pytest.mark.parametrize("width", [pytest.param(400, id="a wide terminal"), pytest.param(70, id="a narrow terminal")])
def test_what_a_sender_wrote_is_never_interpreted_on_a_terminal(terminal: Terminal, width: int) -> None:
    written = terminal(width, (HOSTILE,), columns=[("detail",)])
    assert set(ESCAPE.findall(written)) <= {"\x1b[1m", "\x1b[0m"}  # bold, for the head
    assert "".join(plain(written)[2:]).replace(" ", "") == SHOWN.replace(" ", "")


def test_what_a_sender_wrote_is_never_interpreted_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show([("detail",)], [(HOSTILE,)])
    assert capsys.readouterr().out == f"detail\n{SHOWN}\n"


def test_a_terminal_gets_colours(terminal: Terminal) -> None:
    assert "\x1b[32m200" in terminal(80, ("200",), columns=[("status",)], style="green")


def test_no_color_is_respected(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in terminal(80, ("200",), columns=[("status",)], style="green")


ROOM, USER, TIME = "0d7f9225-e4d2-0093-946b-c69519b09046-lesson", "0d7f9225-e4d2-0093-946b-c69519b09046", ROW[0]
CHINESE = "数学课 三角函数与向量的综合应用"
TOPIC = "krtc.language-school-main.participant.joined"
LONG = "学生名单缺失 the price list of the language school is missing, and so is the list of its students"
REALISTIC = {
    "rooms": (rooms.COLUMNS, ("krtc-main", ROOM, "inside", USER, TIME, TIME, "host, android, 123.5 s, reason 3")),
    "rooms in Chinese": (rooms.COLUMNS, ("krtc-main", CHINESE, "inside", CHINESE, TIME, TIME, LONG)),
    "events": (events.COLUMNS, (TIME, "language-school-main", "participant.joined", ID, f"room_id={ROOM} user={USER}")),
    "dead": (message_output.DEAD_COLUMNS, (TIME, TOPIC, CHINESE, ID, "poisoned", "attempt 10, replay 2", LONG)),
    "retrying": (message_output.RETRY_COLUMNS, (TIME, TOPIC, ROOM[:30], ID, "failed", "attempt 10", LONG)),
    "refused": (
        refused.COLUMNS,
        ("123456", TIME, "language-school-main", "missing_signature", "POST /hooks/a", "127.0.0.1", LONG),
    ),
    "status": (status.COLUMNS, ("attendance-of-the-language-school", *["1000000"] * 6)),
    "processes": (
        status_processes.COLUMNS,
        (
            "65535",
            "ingress",
            "4194304",
            "yes",
            "attendance-of-the-language-school",
            "10000/10000",
            "1.25 min",
            "160000",
        ),
    ),
    "topics": (topics.COLUMNS, ("participant.joined", "ParticipantJoined", f"room_id, {'name, ' * 30}", LONG)),
}


@pytest.mark.parametrize("name", REALISTIC)
def test_80_columns_are_enough_for_every_id_and_word_of_each_command(name: str, terminal: Terminal) -> None:
    columns, row = REALISTIC[name]
    lines = plain(terminal(80, row, columns=columns))
    assert max(map(cell_len, lines)) <= 80
    assert {word for text in row for word in text.split()} <= {word for line in lines for word in line.split()}


@pytest.mark.parametrize("name", REALISTIC)
def test_a_column_stands_in_the_same_line_as_its_group(name: str, terminal: Terminal) -> None:
    """At 80 columns no text stands below another one of its group: a row is read from left to right."""
    columns, row = REALISTIC[name]
    head = plain(terminal(80, row, columns=columns))[: len(columns)]
    assert all(any(all(column in line for column in group) for line in head) for group in columns)
