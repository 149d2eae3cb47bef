"""`hookline replay`: what it refuses, and how it says so."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hookline.cli.main import cli
from tests.end_to_end.processes import Project


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--to q", "Missing option '--since'"),
        ("--since 1h", "Missing option '--to'"),
        ("--since yesterday --to q", "'yesterday' is not a time"),
        ("--since 2026-01-01T00:00 --to q", "has no time zone"),
        ("--since 1h --until 2h --to q", "--since is not before --until"),
        ("--since 1h --to Q", "queue 'Q' is not a name"),
        ("--since 1h --to history", "none of 'events', 'unrouted', 'received' and 'history'"),
        ("--since 1h --to q --topic A", "topic 'A' is not words of"),
        ("--since 1h --to q --again A", "--again: a name is"),
    ],
)
def test_what_it_cannot_do_it_says_before_it_begins(arguments: str, said: str) -> None:
    done = CliRunner().invoke(cli, ["replay", *arguments.split()])
    assert done.exit_code == 2
    assert said in done.output


def test_a_queue_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    done = Project(tmp_path).call("replay", "--since", "1h", "--to", "billing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("hookline: there is no queue 'billing': start its worker once, so that it is declared\n")


def test_without_a_history_it_says_which_setting_makes_one(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.start("worker", "counter.py").stop()
    done = project.call("replay", "--since", "1h", "--to", "counter")
    assert done.returncode == 2
    assert done.stderr == "hookline: history.enabled: it is off, and nothing was kept\n"
