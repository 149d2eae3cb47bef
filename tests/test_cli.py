"""The command line: help with examples, clear errors, exit codes, and nothing secret on the screen."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from docs.reference_pages import subcommands
from hookline.cli.main import cli, main
from hookline.events import EVENT_TYPES
from hookline.schemas.errors import HooklineError, NotDurable, NotStarted, Obstacle, SettingsError, Unreachable
from hookline.schemas.providers import catalogue
from tests.end_to_end.processes import Project, until

TOP = subcommands(cli)
GROUPS = {name: command for name, command in TOP.items() if isinstance(command, click.Group)}
COMMANDS = [name for name in TOP if name not in GROUPS] + [
    f"{name} {below}" for name, group in GROUPS.items() for below in subcommands(group)
]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    started = Project(tmp_path)
    yield started
    started.close()


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPS])
def test_help_ends_with_examples(command: str) -> None:
    shown = CliRunner().invoke(cli, [*command.split(), "--help"]).output
    assert f"  hookline {command}" in shown.partition("Examples:")[2]


@pytest.mark.parametrize("command", [pytest.param("", id="hookline"), *COMMANDS, *GROUPS])
def test_h_is_short_for_help(command: str) -> None:
    long, short = (CliRunner().invoke(cli, [*command.split(), option]) for option in ("--help", "-h"))
    assert (short.exit_code, short.output) == (0, long.output)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"topics", "new-provider"}))
def test_every_command_that_reads_settings_takes_their_file(command: str) -> None:
    assert "--config FILE" in CliRunner().invoke(cli, [*command.split(), "--help"]).output


def test_init_writes_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    done = CliRunner().invoke(cli, ["init", "--config", str(path)])
    assert done.exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_init_does_not_overwrite_a_file(project: Project) -> None:
    before = project.config.read_text()
    done = project.call("init")
    assert (done.returncode, project.config.read_text()) == (2, before)
    assert "--force overwrites it" in done.stderr


def test_init_overwrites_a_file_with_force(project: Project) -> None:
    before = project.config.read_text()
    assert project.call("init", "--force").returncode == 0
    assert project.config.read_text() != before


def test_without_settings_a_command_names_the_command_that_writes_them(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.config.unlink()
    done = project.call("run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "`hookline init` writes one" in done.stderr


def test_a_mistake_in_the_settings_is_one_sentence_and_exit_code_2(project: Project) -> None:
    project.config.write_text(project.config.read_text().replace("[broker]", "[brokr]"))
    done = project.call("ingress")
    assert done.returncode == 2
    assert done.stderr == f"hookline: {project.config}: brokr: there is no such setting; did you mean broker?\n"


def test_an_unreachable_broker_is_exit_code_3_and_shows_no_password(project: Project) -> None:
    text = project.config.read_text()
    project.config.write_text(text.replace("sqlite:hookline.db", "amqp://user:s3cret-password@127.0.0.1:1/", 1))
    done = project.call("ingress", "--fail-fast")
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    assert "s3cret-password" not in done.stderr


def test_libraries_say_nothing_beside_a_command(project: Project) -> None:
    text = project.config.read_text()
    project.config.write_text(text.replace("sqlite:hookline.db", "amqp://127.0.0.1:1/", 1))
    done = project.call("check")
    assert (done.returncode, done.stderr) == (1, "")
    assert "RabbitMQ at 127.0.0.1:1: connection refused" in done.stdout


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("redis://localhost", id="a store that is no broker"),
        pytest.param("mysql://x", id="another database"),
    ],
)
def test_a_url_of_an_unknown_kind_is_exit_code_2(project: Project, url: str) -> None:
    project.config.write_text(project.config.read_text().replace("sqlite:hookline.db", url))
    done = project.call("run")
    assert done.returncode == 2
    assert "broker.url: expected" in done.stderr


def test_a_port_that_is_taken_is_exit_code_3(project: Project) -> None:
    project.start("ingress")
    done, listen = project.call("ingress"), project.call("listen")
    assert (done.returncode, listen.returncode) == (3, 3)
    assert "an ingress of Hookline already listens there; stop it, or choose another with --port" in listen.stderr
    said = [line for line in done.stderr.splitlines() if "metrics and health" not in line]
    assert [line.startswith("hookline: cannot listen on 127.0.0.1:") for line in said] == [True]
    assert "an ingress of Hookline already listens there; stop it, or set another port under [ingress]" in said[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("x = 1\n", "there is no worker at its top level", id="no worker"),
        pytest.param("import no_such_module\n", "cannot be imported: ModuleNotFoundError", id="a missing import"),
        pytest.param("import sys\n\nsys.exit(0)\n", "exits when it is imported at ", id="a program that ends"),
        pytest.param("def :\n", "cannot be imported: SyntaxError", id="a syntax error"),
    ],
)
def test_a_file_without_a_valid_worker_is_exit_code_2(project: Project, content: str, message: str) -> None:
    (project.folder / "mine.py").write_text(content)
    done = project.call("worker", "mine.py")
    assert done.returncode == 2
    assert message in done.stderr


def test_two_workers_with_one_queue_are_refused(project: Project) -> None:
    (project.folder / "other.py").write_text((project.folder / "counter.py").read_text())
    done = project.call("worker", "counter.py", "other.py")
    assert done.returncode == 2
    assert "queue 'counter' has two workers" in done.stderr


def test_a_worker_with_the_queue_of_the_room_view_is_refused(project: Project) -> None:
    (project.folder / "mine.py").write_text((project.folder / "counter.py").read_text().replace('"counter"', '"rooms"'))
    done = project.call("worker", "mine.py")
    assert done.returncode == 2
    assert "queue 'rooms' belongs to the built-in room view" in done.stderr


def test_a_worker_may_import_its_neighbours(project: Project) -> None:
    (project.folder / "neighbour.py").write_text("VALUE = 1\n")
    (project.folder / "mine.py").write_text("import neighbour\n" + (project.folder / "counter.py").read_text())
    assert project.start("worker", "mine.py").stop() == 0


def test_send_to_an_unknown_source_names_the_known_ones(project: Project) -> None:
    done = project.call("send", "krtc")
    assert done.returncode == 2
    assert "krtc-main" in done.stderr


def test_send_of_an_unknown_event_names_those_of_the_provider(project: Project) -> None:
    done = project.call("send", "calls", "seats.changed")
    assert done.returncode == 2
    assert "20 (call.started)" in done.stderr


def test_send_lists_what_can_be_sent_and_sends_nothing(project: Project) -> None:
    done = project.call("send", "krtc-main", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "103   participant.joined\n" in done.stdout
    done = project.call("send", "krtc-main", "participant.joined", "--list", "--json")
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert listed == [{"type": name, "topics": ["participant.joined"]} for name in ("103", "105")]
    assert project.call("send", "krtc-main", "seats.changed", "--list").returncode == 2


def test_send_without_an_ingress_is_exit_code_3(project: Project) -> None:
    done = project.call("send", "krtc-main", "101")
    assert done.returncode == 3
    assert "no answer" in done.stdout
    assert (done.stdout + done.stderr).count("connection refused") == 1


def test_send_with_https_to_a_port_without_tls_says_so(project: Project) -> None:
    project.start("ingress")
    done = project.call("send", "krtc-main", "101", "--url", project.url("krtc-main").replace("http:", "https:"))
    assert done.returncode == 3
    assert "it does not speak TLS: begin the URL with http://" in done.stderr


def test_send_signs_the_body_in_a_file(project: Project) -> None:
    project.start("ingress")
    (project.folder / "body.json").write_bytes(b'{"anything": "at all"}')
    done = project.call("send", "voice", "--body", "body.json")
    assert done.returncode == 0, done.stdout + done.stderr


def test_send_says_why_a_body_cannot_be_signed(project: Project) -> None:
    (project.folder / "body.json").write_bytes(b"[]")
    done = project.call("send", "classroom", "--body", "body.json")
    assert done.returncode == 2
    assert "cannot be signed" in done.stderr


@pytest.mark.parametrize("path", ["", "/"])
def test_a_url_without_a_path_gets_that_of_the_source(project: Project, path: str) -> None:
    project.start("ingress")
    base = project.url("krtc-main").removesuffix("/hooks/krtc-main")
    done = project.call("send", "krtc-main", "101", "--url", f"{base}{path}")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 of 1 accepted")


def test_callbacks_go_to_the_ingress_on_ipv6_too(project: Project) -> None:
    project.config.write_text(project.config.read_text().replace('host = "127.0.0.1"', 'host = "::"', 1))
    project.start("ingress")
    done = project.call("send", "krtc-main", "101")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 of 1 accepted")


def test_a_refused_callback_is_exit_code_1(project: Project) -> None:
    project.start("ingress")
    done = project.call("send", "krtc-main", "101", "--url", project.url("voice"))
    assert done.returncode == 1
    assert "401" in done.stdout


def test_topics_lists_every_event_with_its_fields_and_senders() -> None:
    rows = json.loads(CliRunner().invoke(cli, ["topics", "--json"]).output)
    assert [row["topic"] for row in rows] == list(EVENT_TYPES)
    joined = next(row for row in rows if row["topic"] == "participant.joined")
    assert joined["fields"][:3] == ["room_id", "user_id", "role"]
    assert {"platform", "connection_id", "session_id"} <= set(joined["fields"])
    assert joined["sent_by"]["krtc"] == ["103", "105"]


def test_the_table_of_topics_names_every_provider() -> None:
    shown = CliRunner().invoke(cli, ["topics"]).output
    assert all(name in shown for name, provider in catalogue().items() if set(provider.types.values()) != {"unknown"})


def test_rooms_without_events_names_the_command_that_sends_some(project: Project) -> None:
    done = project.call("rooms")
    assert (done.returncode, done.stdout.startswith("No rooms yet.")) == (0, True)
    done = project.call("rooms", "nobody's")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("hookline: there are no events of a room nobody's: ")
    assert len(project.call("rooms", "x" * 100_000).stderr) < 300
    assert len(project.call("events", "--room", "x" * 100_000).stderr) < 300


def test_ctrl_c_while_the_commands_are_loaded_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("open('loading', 'w').close()\nimport time\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "hookline", "rooms"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  our own command
        until((tmp_path / "loading").exists)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (-signal.SIGINT, "")


def declared(project: Project) -> None:
    """Start once what the command needs: the queue of a worker, and the history."""
    project.config.write_text(project.config.read_text() + "\n[history]\nenabled = true\n")
    project.start("run").stop()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("topics", "--config", "/no/such/file"),
            2,
            "/no/such/file: there is no such file and no folder /no/such; `hookline init` writes one, ",
        ),
        (("run", "no_such_module"), 2, "no_such_module: there is no such module"),
        (("run", "hookline.toml"), 2, "no worker's file, such as attendance.py; --config names the settings file"),
        (("send", "krtc-main", "participant.joind"), 2, "did you mean participant.joined? It sends 101 (room.created)"),
        (("send", "krtc"), 2, "there is no source 'krtc'; of the provider krtc there is krtc-main"),
        (("send", "KRTC-Main"), 2, "there is no source 'KRTC-Main'; did you mean krtc-main?"),
        (("send", "http://127.0.0.1:1/hooks/krtc-main"), 2, "SOURCE is the name of a source: --url says where to send"),
        (("dead", "list", "rooms", "--reason", "faild"), 2, "there is no reason 'faild'; did you mean failed?"),
        (("dead", "list", "rooms", "--source", "krtc"), 1, "there is no source 'krtc'; did you mean krtc-main?"),
        (("unrouted", "replay", "--provider", "qqq"), 1, "there is no provider 'qqq'; there are "),
        (("replay", "--since", "2h", "--to", "rooms", "--source", "nope"), 1, "there is no source 'nope'; there are "),
        (("send", "krtc-main", "--url", "127.0.0.1:1/hooks/krtc-main"), 2, "is not a URL such as http://"),
        (("send", "krtc-main", "--url", "http:///hooks"), 2, "is not a URL such as http://"),
    ],
)
def test_a_mistake_on_the_command_line_says_what_to_do(
    project: Project, arguments: tuple[str, ...], code: int, said: str
) -> None:
    if arguments[0] != "run":
        declared(project)
    done = project.call(*arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("no"), 2),
        (Unreachable("no"), 3),
        (NotDurable("no"), 3),
        (NotDurable("no", Obstacle.REFUSED), 1),
        (NotStarted("no"), 1),
    ],
)
def test_only_what_answers_nothing_is_unreachable(
    error: HooklineError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(cli, "main", failing)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)  # to have it back
    monkeypatch.setattr(sys, "argv", ["hookline", "replay"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (code, "hookline: no\n")


def test_a_command_imports_no_other_one() -> None:
    """The modules of all commands take longer to load than most commands to run."""
    code = (
        "import sys; from hookline.cli.main import cli; cli(['send', '-h'], standalone_mode=False); "
        "print(*{'hookline.cli.send', 'hookline.cli.rooms', 'hookline.workers.rooms'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.endswith("\nhookline.cli.send\n")
