"""Every command, found by walking the parser, with arguments and outputs that are wrong: one sentence, no traceback."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from docs.reference_pages import subcommands
from hookline.cli.main import cli
from tests.command_server import CLOSED_PIPE, LIMIT_S
from tests.end_to_end.processes import Project
from tests.forked_commands import run_forked

ROOT = Path(__file__).parent.parent
FULL_DISK = Path("/dev/full")
HOSTILE = {
    "empty": "",
    "blank": " ",
    "a million characters": "x" * 1_000_000,
    "a huge number": "9" * 31,
    "a negative number": "-1",
    "not ASCII": "毒 🎥",
    "an escape sequence": "\x1b[2J",
    "not UTF-8": "\udcff",
    "a NUL": "a\0b",
    "a missing file": "no/such/file",
    "a folder": "folder",
    "a pattern": "*",
}
GOOD = {
    "queue": "rooms", "source": "krtc-main", "since": "1h", "workers": "counter.py", "name": "acme", "event": "101",
    "limit": "3", "folder": "folder", "number": "1",
}  # fmt: skip
"""What a parameter is given where another one is wrong. A new required parameter needs a line here."""
SERVING = {"run", "ingress", "worker", "listen"}
SERVED_S = 4
MAX_STDERR = 1500
DOCUMENTED = {0, 1, 2, 3}
CLASS_NAME = re.compile(r"\b[A-Za-z]*[a-z](Error|Exception)\b")
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")

Call = Callable[..., dict[str, Any]]


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, child in subcommands(command).items():
            yield from leaves(child, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(cli))


def groups(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        yield path
        for name, child in subcommands(command).items():
            yield from groups(child, (*path, name))


def values(command: click.Command) -> list[click.Parameter]:
    """The parameters that take a value."""
    return [
        each for each in command.params if not getattr(each, "is_flag", False) and not getattr(each, "hidden", False)
    ]


def plan() -> dict[tuple[str, ...], list[tuple[str, str]]]:
    """Which kinds of wrong values each parameter gets: all where it is met first, and elsewhere one of them in turn.

    A command that serves gets one of each: what it takes, it serves with until it is stopped.
    """
    met, found, turn = set[tuple[Any, ...]](), dict[tuple[str, ...], list[tuple[str, str]]](), 0
    for path, command in COMMANDS.items():
        chosen = found.setdefault(path, [])
        for parameter in values(command):
            name, kind = (
                parameter.name or "",
                (parameter.name, str(parameter.type), getattr(parameter.callback, "__name__", "")),
            )
            is_first = kind not in met and path[0] not in SERVING
            kinds = list(HOSTILE) if is_first else [list(HOSTILE)[turn % len(HOSTILE)]]
            turn += not is_first
            if is_first:
                met.add(kind)
            chosen += [(name, each) for each in kinds]
    return found


PLAN = plan()
READING = [
    path
    for path, command in COMMANDS.items()
    if path[0] not in SERVING | {"init"} and any(each.name == "config" for each in command.params)
]
"""The commands that read settings and end by themselves."""
OPENING_NOTHING = {"refused", "topics", "topology"}
"""Of these, those that open neither an embedded broker nor a store, and do not notice what is wrong with its file."""


def words(path: Sequence[str], given: dict[str, str]) -> list[str]:
    """The arguments of a command whose parameters have these values. Required ones get a good value."""
    options, arguments = list(path), list[str]()
    for parameter in values(COMMANDS[tuple(path)]):
        value = given.get(parameter.name or "", GOOD[parameter.name or ""] if parameter.required else None)
        if value is not None and isinstance(parameter, click.Option):
            options.append(f"{parameter.opts[-1]}={value}")
        elif value is not None:
            arguments.append(value)
    return [*options, *(["--", *arguments] if arguments else [])]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    project = Project(tmp_path)
    (tmp_path / "folder").mkdir()

    def ask(arguments: Sequence[str], *, stdout: str = "", **environment: str) -> dict[str, Any]:
        return run_forked(
            arguments,
            folder=tmp_path,
            environment={**os.environ, "HOOKLINE_CONFIG": str(project.config), **environment},
            seconds=SERVED_S if arguments and arguments[0] in SERVING else LIMIT_S,
            stdout=stdout,
        )

    return ask


def faults(answered: dict[str, Any]) -> list[str]:
    """What is wrong with how a command ended."""
    said = answered["stdout"] + answered["stderr"]
    found = {
        "its exit code is not documented": answered["code"] not in DOCUMENTED,
        "it shows a traceback": "Traceback" in said or "Exception ignored" in said,
        "it names a class": CLASS_NAME.search(said) is not None,
        "it is endless": answered["code"] != 0 and len(answered["stderr"]) > MAX_STDERR,
        "it moves the cursor": UNPRINTABLE.search(answered["stderr"]) is not None,
        "it fails and says nothing": answered["code"] != 0 and not said.strip(),
        "it fails without naming itself": answered["code"] > 1 and not re.search("(?m)^(hookline|Error): .", said),
    }
    return [fault for fault, holds in found.items() if holds]


@pytest.mark.parametrize("path", list(groups(cli)), ids=lambda path: " ".join(("hookline", *path)))
def test_a_group_without_a_command_shows_its_help(path: tuple[str, ...], call: Call) -> None:
    said = call(path)
    assert (said["code"], said["stdout"]) == (2, "")
    assert said["stderr"] == call([*path, "-h"])["stdout"]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_wrong_argument_is_one_sentence_and_no_traceback(path: tuple[str, ...], call: Call) -> None:
    found = {}
    for name, kind in PLAN[path]:
        answered = call(words(path, {name: HOSTILE[kind]}))
        if wrong := faults(answered):
            found[f"{name}: {kind}"] = (wrong, answered["stderr"][-300:])
    assert found == {}


@pytest.mark.parametrize("path", [path for path in COMMANDS if path[0] not in SERVING], ids=" ".join)
def test_what_cannot_be_printed_is_said_without_a_traceback(path: tuple[str, ...], call: Call) -> None:
    shown = call(words(path, {}))
    closed = call(words(path, {}), stdout=CLOSED_PIPE)
    full = call(words(path, {}), stdout=str(FULL_DISK))
    if path[0] in ("init", "new-provider"):  # the first call has written the files
        shown["stdout"] = ""
    if shown["stdout"]:
        assert (closed["code"], closed["stderr"]) == (1, "")
        assert (full["code"], full["stderr"].splitlines()[-1]) == (
            1,
            "hookline: the output cannot be written: No space left on device",
        )
    assert [faults(answered) for answered in (shown, full)] == [[], []]
    assert "Traceback" not in closed["stderr"]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path, command in COMMANDS.items()
        if path[0] not in SERVING and any(each.name == "as_json" for each in command.params)
    ],
    ids=" ".join,
)
def test_each_line_of_json_is_json(path: tuple[str, ...], call: Call) -> None:
    first, *rest = words(path, {})
    answered = call([first, *rest[: len(path) - 1], "--json", *rest[len(path) - 1 :]])
    assert faults(answered) == []
    for line in answered["stdout"].splitlines():
        json.loads(line)


@pytest.mark.parametrize("columns", ["40", "80"])
def test_help_fits_the_terminal(columns: str, call: Call) -> None:
    """Examples are not wrapped, so that they can be copied; they fit 80 columns."""
    for path in COMMANDS:
        answered = call([*path, "--help"], COLUMNS=columns)
        text = answered["stdout"] if columns == "80" else answered["stdout"].partition("Examples:")[0]
        assert faults(answered) == []
        assert [line for line in text.splitlines() if len(line) > max(int(columns), 50)] == [], path


@pytest.mark.parametrize("path", READING, ids=" ".join)
def test_broken_settings_are_one_sentence(path: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    found = {}
    for kind, text in broken_settings(path).items():
        file = tmp_path / "broken.toml"
        file.write_text(text, errors="surrogateescape")
        answered = call(words(path, {"config": str(file)}))
        wrong = faults(answered)
        if answered["code"] == 0 and path[0] not in OPENING_NOTHING:
            wrong.append("it says nothing of it")
        if wrong:
            found[kind] = (wrong, answered["stderr"][-300:])
    assert found == {}


def broken_settings(path: tuple[str, ...]) -> dict[str, str]:
    """Three kinds of them for each command, and all for the first."""
    broken = {
        "a NUL in a path": '[broker]\nurl = "sqlite:a\\u0000b"\n[store]\nurl = "sqlite:a\\u0000b"\n',
        "a file that is a folder": '[broker]\nurl = "sqlite:folder"\n[store]\nurl = "sqlite:folder"\n',
        "a dead broker": '[broker]\nurl = "amqp://127.0.0.1:1"\n[store]\nurl = "redis://127.0.0.1:1"\n',
        "no port": '[broker]\nurl = "amqp://127.0.0.1:99999"\n[store]\nurl = "postgresql://127.0.0.1:1/x"\n',
        "a huge number": "[ingress]\nport = " + "9" * 31 + "\n",
        "bytes that are no text": "\udcff",
        "no TOML": "\x00",
    }
    turn = READING.index(path)
    kinds = [list(broken)[(turn + step) % len(broken)] for step in range(len(broken) if turn == 0 else 3)]
    return {kind: broken[kind] for kind in kinds}
