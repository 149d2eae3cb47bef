"""Wrong usage of the command line: what was meant, or where it belongs."""

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hookline.cli.main import main
from hookline.runtime.shutdown import ExitCode
from hookline.runtime.worker_files import find_workers
from hookline.schemas.errors import SettingsError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("statsu", "No such command 'statsu'. Did you mean status?"),
        ("dead lst", "No such command 'lst'. Did you mean "),
        (
            "send krtc-main --url http://[::1",
            "'http://[::1' is not a URL such as http://127.0.0.1:8080/hooks/krtc-main",
        ),
        (
            "send krtc-main --url http://a:b/",
            "'http://a:b/' is not a URL such as http://127.0.0.1:8080/hooks/krtc-main",
        ),
        ("run --port 80", "No such option '--port'. In the settings file it is port under [ingress]"),
        ("ingress --max-connections 9", "In the settings file it is max_connections under [ingress]"),
        ("ingress --processes 2", "No such option '--processes'. In the settings file it is processes under [ingress]"),
        ("rooms --limt 9", "No such option '--limt'. Did you mean '--limit'?"),
        (
            "listen --topic participant.joined",
            "topic 'participant.joined' matches no event: it is <provider>.<source>.<entity>.<action>, as in *.*.room.",
        ),
        ("refused show x", "Invalid value for 'ID': 'x' is not a whole number."),
        ("doctor", "No such command 'doctor'. Did you mean check?"),
        ("start", "No such command 'start'. Did you mean run?"),
        ("status --config=", "Invalid value for '--config': it is empty; is the variable that names the file set?"),
        ("--config x status", "It stands behind the command: `hookline status --config FILE`"),
        ("ingress billing.py", "Workers run with `hookline worker`, or beside an ingress with `hookline run`"),
        ("init --config no/such/folder/x.toml", "x.toml cannot be written: there is no folder no/such/folder"),
        ("rooms", "hookline.toml: there is no such file in "),
    ],
)
def test_wrong_usage_has_a_remedy(
    arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "HOOKLINE_CONFIG", "")  # as if it was not set
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)  # main changes it
    monkeypatch.setattr(sys, "argv", ["hookline", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_shell_has_closed_is_no_error(closed: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m hookline topics {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_shell_has_closed_stops_no_process_that_logs(closed: str, tmp_path: Path) -> None:
    config = tmp_path / "hookline.toml"
    config.write_text('[broker]\nurl = "amqp://127.0.0.1:9/"\n[admin]\nport = 0\n')
    command = f"{shlex.quote(sys.executable)} -m hookline worker rooms --fail-fast --config {config} {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)  # noqa: S603
    assert done.returncode == ExitCode.UNREACHABLE  # it got as far as asking for the broker


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.py", "a.py"], "a.py is named twice: leave one out"),
        (["notes.txt"], "notes.txt: there is no such module, and the name of a Python file ends with .py"),
        (["room"], "room: there is no such module; did you mean rooms?"),
        (["a"], "a: there is no worker at its top level"),
        (["a.py:work"], "'a.py:work': write a.py alone; all workers in it run"),
        (["./folder"], "./folder is a folder: name the Python files in it that have workers"),
    ],
)
def test_a_name_of_workers_that_has_none_says_what_is_wrong(
    names: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "folder").mkdir()
    for name in ("a.py", "notes.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.delitem(sys.modules, "a", raising=False)
    with pytest.raises(SettingsError) as refused:
        find_workers(names)
    assert str(refused.value).startswith(said)
