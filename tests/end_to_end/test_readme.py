"""The commands and tables of README."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from docs.readme_tables import README, with_tables
from hookline.schemas.providers import catalogue
from hookline.settings import SECTIONS
from tests.end_to_end.processes import Project, until

TEXT = README.read_text()
PROGRAMS = Path(sys.executable).parent


def tour(name: str = "") -> list[str]:
    """The blocks of the tour: its commands, or the file of that name."""
    marker = re.escape(f"<!-- tour {name} -->" if name else "<!-- tour -->")
    return re.findall(marker + r"\n```\w+\n(.*?)```", TEXT, re.DOTALL)


def follow(project: Project, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  README's own commands
        ["/bin/sh", "-euc", script],
        cwd=project.folder,
        env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOOKLINE_CONFIG": str(project.config)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_tour_can_be_followed_to_the_letter(embedded_project: Project) -> None:
    run = embedded_project.start("run")
    send, look = tour()
    sent = follow(embedded_project, send)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    until(lambda: any(line.get("outcome") == "duplicate" for line in run.lines))
    until(lambda: all(source in follow(embedded_project, look).stdout for source in embedded_project.settings.sources))
    assert run.stop() == 0


def test_the_worker_of_the_tour_handles_what_the_tour_sends(embedded_project: Project) -> None:
    (worker,) = tour("attendance.py")
    (embedded_project.folder / "attendance.py").write_text(worker)
    run = embedded_project.start("run", "attendance.py")
    follow(embedded_project, tour()[0])
    until(lambda: sum(1 for line in run.lines if line.get("queue") == "attendance") >= 13)
    assert {line["outcome"] for line in run.lines if line.get("queue") == "attendance"} == {"handled", "duplicate"}
    assert run.stop() == 0


def test_the_callback_by_hand_is_accepted(embedded_project: Project) -> None:
    (script,) = re.findall(r"```sh\n(body=.*?)```", TEXT, re.DOTALL)
    run = embedded_project.start("run")
    secret = embedded_project.settings.sources["krtc-main"].keys[0].decode()
    port = embedded_project.settings.ingress.port
    done = follow(embedded_project, f"SECRET='{secret}'\n" + script.replace(":8080", f":{port}"))
    assert "HTTP/1.1 200 OK" in done.stdout, done.stdout + done.stderr
    until(lambda: any(line.get("subject") == "lesson" for line in run.lines))


def test_the_tables_match_the_code() -> None:
    assert with_tables(TEXT) == TEXT, "run `make docs`"


def test_every_provider_is_in_the_table_and_no_other() -> None:
    table = TEXT.partition("<!-- providers -->")[2].partition("<!-- /providers -->")[0]
    rows = [row.split("|")[2].strip() for row in table.strip().splitlines()[2:]]
    assert rows == [f"`{name}`" for name in catalogue()]


@pytest.mark.parametrize("section", sorted(set(SECTIONS) - {"admin"}))
def test_the_settings_table_names_every_key(section: str) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `[{section}]`")]
    assert [key for key in msgspec.structs.fields(SECTIONS[section]) if f"`{key.encode_name}`" not in row] == []
