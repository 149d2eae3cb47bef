"""What `hookline replay` refuses, and with which message."""

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from hookline.cli.main import cli
from tests.end_to_end.processes import Project


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param("--to q", "Missing option '--since'", id="no start"),
        pytest.param("--since 1h", "Missing option '--to'", id="no queue"),
        pytest.param("--since yesterday --to q", "'yesterday' is not a time", id="a word for a time"),
        pytest.param("--since 2026-01-01T00:00 --to q", "has no time zone", id="no time zone"),
        pytest.param("--since 1h --until 2h --to q", "--since is not before --until", id="an end before the start"),
        pytest.param("--since 1h --to Q", "queue 'Q' is not a name", id="no name of a queue"),
        pytest.param(
            "--since 1h --to history", "none of 'events', 'unrouted', 'received' and 'history'", id="a reserved name"
        ),
        pytest.param("--since 1h --to q --topic A", "topic 'A' is not words of", id="no topic"),
        pytest.param("--since 1h --to q --again A", "--again: a name is", id="no name after --again"),
    ],
)
def test_wrong_arguments_are_refused_before_the_replay(arguments: str, message: str) -> None:
    done = CliRunner().invoke(cli, ["replay", *arguments.split()])
    assert done.exit_code == 2
    assert message in done.output


def test_an_unknown_queue_is_exit_code_2(tmp_path: Path) -> None:
    done = Project(tmp_path).call("replay", "--since", "1h", "--to", "billing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "hookline: there is no queue 'billing'; there is none; a worker's queue is there once the worker has started\n"
    )


def test_without_a_history_the_message_names_the_setting(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with closing(project):
        project.start("worker", "counter.py").stop()
    done = project.call("replay", "--since", "1h", "--to", "counter")
    assert done.returncode == 2
    assert done.stderr == "hookline: history.enabled: it is off, and nothing was kept\n"


def test_only_a_replay_that_may_have_fed_events_says_how_far_it_came(tmp_path: Path) -> None:
    project = Project(tmp_path, "amqp://guest:guest@127.0.0.1:1/")
    arguments = ("replay", "--since", "1h", "--to", "billing")
    why = "hookline: RabbitMQ at 127.0.0.1:1: connection refused\n"
    stopped = "Stopped: billing was fed 0 events or more. Run it again: no event is handled twice.\n"
    assert (project.call(*arguments).stderr, project.call(*arguments, "--dry-run").stderr) == (stopped + why, why)
