"""Flame graphs and their steps: faults that would go unnoticed, and facts that a picture must not show."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.flame import INGRESS_STEPS, WORKER_STEPS
from benchmarks.flame_picture import drawn
from benchmarks.processes import ROOT
from benchmarks.stacks import EVENT_LOOP, REST, by_step, read, weighed

RAW = """\
thread (7): MainThread;main (hookline/cli/main.py);Runner.run (asyncio/runners.py);\
answer (hookline/ingress/receive.py) 1
thread (7): MainThread;main (hookline/cli/main.py);Runner.run (asyncio/runners.py);\
answer (hookline/ingress/receive.py);\
verify (hookline/schemas/providers/krtc.py);_read (hookline/schemas/signing.py) 3
thread (9): sqlite store.db;Thread.run (threading.py);Database._write (hookline/sqlite/database.py) 4
"""
VERIFYING = (
    EVENT_LOOP,
    "answer (hookline/ingress/receive.py)",
    "verify (hookline/schemas/providers/krtc.py)",
    "_read (hookline/schemas/signing.py)",
)
ANSWERING = VERIFYING[:2]
WRITING = ("sqlite store.db", "Database._write (hookline/sqlite/database.py)")
PICTURES = sorted((ROOT / "docs" / "images").glob("*-flame.svg"))


def test_stacks_begin_below_the_frames_that_start_a_thread() -> None:
    assert read(RAW) == {7: {ANSWERING: 1, VERIFYING: 3}, 9: {WRITING: 4}}


def test_a_stack_has_its_share_of_the_cpu_time_of_its_thread() -> None:
    assert weighed(read(RAW), {7: 80.0, 9: 10.0}) == {ANSWERING: 20.0, VERIFYING: 60.0, WRITING: 10.0}


def test_the_step_of_a_stack_is_that_of_its_innermost_frame() -> None:
    steps = by_step({ANSWERING: 20.0, VERIFYING: 60.0}, INGRESS_STEPS)
    assert {name.partition(":")[0]: cpu_us for name, cpu_us in steps.items() if cpu_us} == {
        "verify": 60.0,
        "receive and answer": 20.0,
    }


def test_a_stack_of_another_thread_belongs_to_the_step_of_the_thread() -> None:
    steps = by_step({WRITING: 10.0}, WORKER_STEPS)
    assert [name for name, cpu_us in steps.items() if cpu_us] == ["claim and finish, in the store's own thread: SQLite"]


MARKS = [mark for steps in (INGRESS_STEPS, WORKER_STEPS) for marks in steps.values() for mark in marks]


@pytest.mark.parametrize("mark", [mark for mark in MARKS if "(hookline/" in mark])
def test_a_step_names_code_that_exists(mark: str) -> None:
    function, _, place = mark.partition("(")
    path = ROOT / place
    code = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert any(re.search(rf"def \w*{function.strip()}\(" if function else "", file.read_text()) for file in code)


def test_a_frame_of_ours_has_the_colour_of_its_folder() -> None:
    picture = drawn({ANSWERING: 20.0, WRITING: 10.0}, "ingress")
    assert re.search(r"<title>answer \(hookline/ingress/receive.py\):.*\n.*fill=\"#f2a65a\"", picture)
    assert re.search(r"<title>Database._write \(hookline/sqlite/database.py\):.*\n.*fill=\"#c7a6dd\"", picture)


def test_a_stack_without_a_step_is_counted_as_the_rest() -> None:
    assert by_step({("odd", "strange (elsewhere.py)"): 1.0}, INGRESS_STEPS)[REST] == 1.0


def test_the_width_of_a_frame_is_its_share_of_the_time() -> None:
    picture = drawn({ANSWERING: 20.0, VERIFYING: 60.0}, "ingress")
    widths = {
        title.partition(" ")[0]: float(width)
        for title, width in re.findall(r"<title>(.*?):.*\n.*?width=\"([\d.]+)\"", picture)
    }
    assert widths["answer"] == pytest.approx(widths["all"])
    assert widths["verify"] == pytest.approx(widths["all"] * 60 / 80)


def test_a_picture_does_not_show_folders_above_a_package() -> None:
    raw = "thread (7): MainThread;step (/home/somebody/secret/benchmarks/notes.py) 1\n"
    assert "step (benchmarks/notes.py)" in (picture := drawn(weighed(read(raw), {7: 1.0}), "worker"))
    assert "secret" not in picture


def test_the_page_has_both_pictures() -> None:
    assert [path.name for path in PICTURES] == ["ingress-flame.svg", "worker-flame.svg"]


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: str(path.name))
def test_a_picture_of_the_page_has_no_script_and_names_no_local_folder(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ET.fromstring(text).find(".//{*}script") is None  # noqa: S314  our own file
    assert not re.search(r"\(/|/home/|/Users/", text)
    assert len(text) < 300_000
