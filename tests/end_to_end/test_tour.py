"""README's tour, followed to the letter in terminals that know nothing but what the tour types."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hookline.cli.settings_template import settings_file
from tests.contract.installations import RabbitMQInstallation
from tests.docs.pages import README, ROOT, blocks
from tests.end_to_end.terminal import Terminal
from tests.services.rabbitmq import server_url
from tests.services.servers import free_ports

OPERATIONS = ROOT / "docs" / "operations.md"
FIRST_RUN, FIRST_RUN_OF_WORKER = [block.text for block in blocks(README) if block.marker == "tour first"]
SEND, LOOK, SEND_AGAIN = [block.text for block in blocks(README) if block.marker == "tour"]
(BY_HAND,) = [block.text for block in blocks(OPERATIONS) if block.marker == "tour"]
FILES = {block.marker.removeprefix("tour "): block.text for block in blocks(README) if block.marker.startswith("tour ")}
(ROLES,) = [block.text.splitlines() for block in blocks(README) if block.marker == "tour roles"]
ON_SQLITE = '[broker]\nurl = "sqlite:hookline.db" '

Open = Callable[[], Terminal]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone as `make run` leaves it when it has installed everything, but for the port."""
    programs = Path(sys.prefix) / "bin"
    if not (programs / "activate").exists():
        pytest.skip("NOT TESTED: Python runs in no virtual environment, so README's tour is not followed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(programs)
    (tmp_path / ".venv" / ".installed").touch()
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", tmp_path / ".venv")
    with (tmp_path / ".venv" / "pyvenv.cfg").open("a") as settings:
        settings.write(f"command = python3 -m venv {tmp_path / '.venv'}\n")
    (tmp_path / "hookline.toml").write_text(settings_file().replace("port = 8080", f"port = {free_ports(1)[0]}"))
    return tmp_path


@pytest.fixture
def open_terminal(folder: Path) -> Iterator[Open]:
    """Opens terminals in the folder, without the programs of the virtual environment."""
    ours = {str(Path(sys.executable).parent), str(Path(sys.prefix) / "bin")}
    path = os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if place not in ours)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOOKLINE", "MAKE", "VIRTUAL"))}
    opened: list[Terminal] = []

    def open_() -> Terminal:
        opened.append(Terminal(folder, {**kept, "PATH": path, "VIRTUAL_ENV_DISABLE_PROMPT": "1"}))
        return opened[-1]

    yield open_
    for terminal in opened:
        terminal.close()


def with_port(folder: Path, script: str) -> str:
    (line,) = [line for line in (folder / "hookline.toml").read_text().splitlines() if line.startswith("port = ")]
    return script.replace(":8080", f":{line.removeprefix('port = ')}")


def test_the_tour_can_be_followed_on_the_embedded_queue(folder: Path, open_terminal: Open) -> None:
    first, second = open_terminal(), open_terminal()
    first.type(FIRST_RUN)
    first.wait_for("Ctrl-C stops")
    answers = [line for line in second.run(SEND).splitlines() if line.startswith("200  ")]
    assert len(answers) == 8 + 1 + 1 + 7 + 4 + 2  # more than twenty callbacks are summed up in one line
    first.wait_for("→ rooms: duplicate")
    shown = second.run(LOOK)
    assert [source for source in ("krtc-main", "meetings", "calls", "classroom", "voice") if source not in shown] == []
    assert "ParticipantJoined" in shown

    (folder / "attendance.py").write_text(FILES["attendance.py"])
    first.interrupt()
    first.type(FIRST_RUN_OF_WORKER)
    first.wait_for("worker attendance")
    second.run(SEND_AGAIN)
    first.wait_for("student came to demo-")
    first.wait_for("(roomkit)")

    assert "HTTP/1.1 200 OK" in second.run(with_port(folder, BY_HAND))
    first.wait_for("room_id=lesson")
    first.interrupt()


async def test_the_tour_can_be_followed_on_rabbitmq(
    folder: Path, open_terminal: Open, request: pytest.FixtureRequest
) -> None:
    server = server_url(request.config)
    await RabbitMQInstallation(server).clear()
    parts = urlsplit(server)
    broker = FILES["hookline.toml"].replace("user:", f"{parts.username}:")
    broker = broker.replace("rabbit.example.com/", f"{parts.hostname}:{parts.port}{parts.path}")
    settings = (folder / "hookline.toml").read_text()
    assert ON_SQLITE in settings
    (folder / "hookline.toml").write_text(settings.replace(ON_SQLITE, f"{broker}#"))
    (folder / "attendance.py").write_text(FILES["attendance.py"])

    terminals = [open_terminal() for _ in (*ROLES, "to send")]
    for terminal in terminals:
        terminal.run(f"export AMQP_PASSWORD={parts.password}\n. .venv/bin/activate\n")
    *roles, second = terminals
    for terminal, line in zip(roles, ROLES, strict=True):
        terminal.type(f"{line}\n")
        terminal.wait_for("Ctrl-C stops")
    second.run("hookline send krtc-main\n")
    _, attendance, rooms = roles
    attendance.wait_for("student came to demo-")
    rooms.wait_for("room.ended")
    for terminal in roles:
        terminal.interrupt()
