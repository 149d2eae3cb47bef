"""What commands print on a terminal of 80 columns, in a pipe, and as JSON to a real jq."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence

import pytest
from rich.cells import cell_len

from tests.end_to_end.processes import Project, until

COLUMNS = 80
TITLE = 20
"""What stands in front of a text takes no more columns than that."""
FAILING = """
from hookline import Poisoned, worker
from hookline.events import ParticipantJoined, RoomCreated


@worker(ParticipantJoined, queue="parked")
async def parked(_: ParticipantJoined) -> None:
    raise Poisoned("no account 客户 for this room, a reason that is longer than what is left of a line")


@worker(RoomCreated, queue="failing")
async def failing(_: RoomCreated) -> None:
    raise ValueError("a reason that is longer than what is left of a line of a narrow terminal")
"""
SHOWN: Sequence[Sequence[str]] = (
    ("status",),
    ("check", "failing.py"),
    ("check", "none.py"),
    ("topics",),
    ("rooms",),
    ("events",),
    ("dead", "list", "parked"),
    ("retrying", "list", "failing"),
    ("refused", "list"),
    ("refused", "show", "1"),
    ("refused", "verify", "1"),
    ("send", "nobody"),
    ("dead", "list", "nobody"),
    ("topology", "show", "rooms"),
)
IN_JSON: Sequence[Sequence[str]] = tuple(
    each for each in SHOWN if each[0] not in {"send", "topology"} and "nobody" not in each
)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """An installation with events of five providers, dead letters, pending retries, and refused requests."""
    made = Project(tmp_path_factory.mktemp("project"))
    (made.folder / "failing.py").write_text(FAILING)
    made.start("run", "failing.py", "rooms")
    for source in ("krtc-main", "meetings", "calls", "classroom", "voice"):
        assert made.call("send", source).returncode == 0
        assert made.call("send", source, "--url", f"{made.url(source)}x").returncode == 1
    until(lambda: '"refused":[]' not in made.call("status", "--json").stdout)
    until(lambda: bool(made.call("dead", "list", "parked", "--json").stdout))
    yield made
    made.close()


def on_a_terminal(project: Project, arguments: Sequence[str]) -> list[str]:
    """The lines of a command on a terminal, without their colours."""
    return _COLOUR.sub("", printed(project, arguments)).splitlines()


def printed(project: Project, arguments: Sequence[str], **variables: str) -> str:
    """What a terminal gets of a command."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "hookline", *arguments, *_config(project, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(  # noqa: S603  our own command
        command,
        cwd=project.folder,
        env={**environment, "TERM": "xterm-256color", **variables},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ):
        os.close(theirs)
        found = b"".join(_read(ours))
    os.close(ours)
    return found.decode()


def _config(project: Project, arguments: Sequence[str]) -> list[str]:
    return [] if arguments[0] == "topics" else ["--config", str(project.config)]


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(terminal, 65_536)
        except OSError:  # what Linux says at the end
            return


@pytest.mark.parametrize("arguments", SHOWN, ids=" ".join)
def test_no_line_is_wider_than_the_terminal(project: Project, arguments: Sequence[str]) -> None:
    """A single word may be: what is to be copied, such as a path, stays whole."""
    lines = on_a_terminal(project, arguments)
    assert lines
    wide = [line for line in lines if cell_len(line) > COLUMNS]
    assert [line for line in wide if max(map(cell_len, line.split())) <= COLUMNS - TITLE] == []


@pytest.mark.parametrize("arguments", SHOWN, ids=" ".join)
def test_a_pipe_gets_no_colours_and_one_line_for_a_sentence(project: Project, arguments: Sequence[str]) -> None:
    done = project.call(*arguments)
    assert "\x1b" not in done.stdout + done.stderr
    if done.returncode > 1:
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", IN_JSON, ids=" ".join)
def test_jq_reads_json(project: Project, arguments: Sequence[str]) -> None:
    jq = shutil.which("jq") or pytest.skip("jq is missing: apt-get install jq")
    done = project.call(*arguments, "--json")
    assert done.stdout
    read = subprocess.run([jq, "-c", "."], input=done.stdout, capture_output=True, text=True, check=False)  # noqa: S603
    assert read.returncode == 0, read.stderr
    assert len(read.stdout.splitlines()) == len(done.stdout.splitlines())


@pytest.mark.parametrize(
    "arguments", [("check",), ("refused", "verify", "1"), ("dead", "list", "parked")], ids=" ".join
)
@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "a dumb terminal"])
def test_a_terminal_gets_no_colours_that_it_does_not_want(
    project: Project, arguments: Sequence[str], variable: Mapping[str, str]
) -> None:
    shown = printed(project, arguments, **variable)
    assert shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_a_terminal_gets_colours(project: Project) -> None:
    assert "\x1b[32mok" in printed(project, ["check"])
