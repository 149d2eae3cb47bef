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

from hookline.cli import rooms, tables

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


def test_80_columns_are_enough_for_an_id_and_every_word(terminal: Terminal) -> None:
    assert plain(terminal(80, ROW))[-2:] == [
        "2026-01-31 12:00:00  krtc.krtc-main.participant.joined  ValueError: the price",
        f"                     {ID}   list is missing",
    ]


def test_a_long_table_has_one_head_and_columns_of_one_width(terminal: Terminal) -> None:
    lines = plain(terminal(80, *[(*ROW[:2], f"{number:032}", "failed") for number in range(500)]))
    assert sum("topic" in line for line in lines) == 1
    assert [line.strip() for line in lines if line.strip().isdigit()] == [f"{number:032}" for number in range(500)]
    assert len([line for line in lines if line == ""]) == 499


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


def test_80_columns_are_enough_for_the_ids_of_a_room_and_of_who_is_in_it(terminal: Terminal) -> None:
    room, user = "0d7f9225-e4d2-0093-946b-c69519b09046-lesson", "0d7f9225-e4d2-0093-946b-c69519b09046"
    time = "2026-01-31 12:00:00"
    row = ("krtc-main", room, "inside", user, time, time, "host, android, 123.5 s, reason 3")
    shown = {word for line in plain(terminal(80, row, columns=rooms.COLUMNS)) for word in line.split()}
    assert {room, user} <= shown
