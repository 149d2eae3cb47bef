"""`hookline refused`: what the ingress has refused, as a table, in a pipe and as JSON."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hookline.cli.main import cli, main
from hookline.cli.settings_template import settings_file
from hookline.schemas.errors import reasons_of_refusals
from hookline.schemas.provider import AnySource
from hookline.schemas.refusals import UNKNOWN_PATH
from hookline.settings import load
from tests.audit.refused_requests import record, refused
from tests.end_to_end.processes import Project
from tests.ingress.callbacks import post, signed
from tests.vector_cases import with_secrets

NOW_S = time.time()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hookline.toml"
    path.write_text(settings_file())
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["refused", *arguments, "--config", str(config)])


def listed(config: Path, *arguments: str) -> list[dict[str, Any]]:
    done = run(config, "list", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


SENT = (("Host", "ingress.example"), ("Content-Length", "2"))
LATE = refused(
    at_s=NOW_S - 60, reason="stale_timestamp", detail="the time stamp is 3,604 s old", age_s=3604.0, headers=SENT
)
FORGED = refused(at_s=NOW_S - 7200, hint="a secret of calls fits: is the URL or the secret that of another source?")
ASTRAY = refused(at_s=NOW_S - 86_400, source=UNKNOWN_PATH, reason="unknown_source", path="/hooks/krtc-mian")


def test_the_newest_stands_first_and_all_that_was_refused_is_summed_up(config: Path) -> None:
    record(config, ASTRAY, FORGED, LATE)
    lines = run(config, "list").output.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["id", "3", "2", "1"]
    assert "a secret of calls fits" in lines[2]
    assert "POST /hooks/krtc-mian" in lines[3]
    assert lines[-1] == (
        "3 shown. Refused since the file was made: 30 "
        "(10 - unknown_source, 10 krtc-main bad_signature, 10 krtc-main stale_timestamp)"
    )


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--source", "krtc-main"], [3, 2]),
        (["--source", "-"], [1]),
        (["--reason", "stale_timestamp"], [3]),
        (["--since", "3h"], [3, 2]),
        (["--until", "3h"], [1]),
        (["--since", "1h", "--source", "krtc-main", "--reason", "bad_signature"], []),
        (["--limit", "1"], [3]),
        (["--source", "zoom-main"], []),
    ],
)
def test_filters_choose(config: Path, arguments: list[str], ids: list[int]) -> None:
    record(config, ASTRAY, FORGED, LATE)
    assert [each["id"] for each in listed(config, *arguments)] == ids


def test_more_than_the_limit_is_said_beside_the_output(config: Path) -> None:
    record(config, FORGED, LATE)
    done = run(config, "list", "--limit", "1", "--json")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == "The newest 1 are shown; --limit shows more.\n"


def test_json_has_every_fact_but_no_exact_request(config: Path) -> None:
    record(config, refused(at_s=NOW_S, exact=b"POST / HTTP/1.1\r\nSignature: abc\r\n\r\n"))
    (found,) = listed(config)
    assert found["at"].endswith("Z")
    assert (found["exact_bytes"], "exact" in found) == (35, False)
    assert {"source", "reason", "detail", "hint", "peer", "path", "headers", "status"} <= set(found)


def test_what_could_not_be_read_is_shown_without_a_request(config: Path) -> None:
    unread = refused(
        source=UNKNOWN_PATH,
        reason="malformed_request",
        detail="the sender speaks TLS",
        at_s=NOW_S,
        method="",
        path="",
        headers=(),
    )
    record(config, unread)
    row = run(config, "list").output.splitlines()[1]
    assert re.search(r" - +malformed_request +not read +\S+ +the sender speaks TLS$", row)
    shown = run(config, "show", "1").output
    assert re.search(r"^source +unknown$", shown, re.MULTILINE)
    assert re.search(r"^request +not read$", shown, re.MULTILINE)
    assert not re.search("^(body|headers)", shown, re.MULTILINE)
    verified = run(config, "verify", "1")
    assert verified.exit_code == 1
    assert "at the receipt: the sender speaks TLS; nothing else is known of it" in verified.output


def test_without_a_file_nothing_was_refused(config: Path) -> None:
    assert run(config, "list").output == "No refused requests.\n"
    assert listed(config) == []


def test_a_source_that_is_in_no_settings_is_said(config: Path) -> None:
    done = run(config, "list", "--source", "krtc-mian")
    assert (done.exit_code, "did you mean krtc-main?" in done.output) == (1, True)


def test_a_source_that_was_removed_from_the_settings_can_be_listed(config: Path) -> None:
    record(config, refused(source="gone", at_s=NOW_S))
    assert len(listed(config, "--source", "gone")) == 1


def test_a_reason_that_does_not_exist_is_a_usage_error(config: Path) -> None:
    done = run(config, "list", "--reason", "stale_timestmp")
    assert done.exit_code == 2
    assert "did you mean stale_timestamp?" in done.output


def test_the_reasons_are_those_of_the_log() -> None:
    assert {"refused_address", "bad_signature", "unknown_source"} <= set(reasons_of_refusals())
    assert "unverified" not in reasons_of_refusals()


def test_a_switched_off_audit_is_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(f'{config.read_text()}\n[audit]\npath = ""\n')
    monkeypatch.setattr("sys.argv", ["hookline", "refused", "list", "--config", str(config)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2


def test_show_tells_everything_and_escapes_what_could_move_the_cursor(config: Path) -> None:
    record(config, refused(at_s=NOW_S, forwarded="198.51.100.7", body='{"a":"\x1b[2J"}', hint="did you mean x?"))
    shown = run(config, "show", "1").output
    for text in ("401 bad_signature", "did you mean x?", "198.51.100.7", "KRTC-Signature: *** (64 characters)"):
        assert text in shown
    assert "\x1b" not in shown
    assert json.loads(run(config, "show", "1", "--json").output)["id"] == 1


@pytest.mark.parametrize("command", ["show", "verify"])
def test_an_id_that_is_not_there_fails(config: Path, command: str) -> None:
    done = run(config, command, "7")
    assert (done.exit_code, "there is no refused request 7" in done.output) == (1, True)


def test_the_exact_request_is_written_byte_for_byte_if_it_was_kept(config: Path) -> None:
    exact = b"POST /hooks/krtc-main HTTP/1.1\r\nContent-Length: 2\r\n\r\n\xff{"
    record(config, refused(at_s=NOW_S, exact=exact), refused(at_s=NOW_S))
    assert run(config, "show", "1", "--raw").stdout_bytes == exact
    done = run(config, "show", "2", "--raw")
    assert (done.exit_code, "`requests = true` under [audit]" in done.output) == (1, True)


@pytest.mark.parametrize("command", [["refused", "show", "1"], ["dead", "show", "billing"], ["unrouted", "show"]])
def test_exact_bytes_are_not_written_to_a_terminal(config: Path, command: list[str]) -> None:
    record(config, refused(at_s=NOW_S, exact=b"POST / HTTP/1.1\r\n\r\n\x1b]0;zebra\x07"))
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "wb") as terminal:
        whole = [sys.executable, "-m", "hookline", *command, "--raw", "--config", str(config)]
        done = subprocess.run(whole, stdout=terminal, stderr=subprocess.PIPE, timeout=60, check=False)  # noqa: S603
        terminal.write(b"the end")
    assert os.read(ours, 4096) == b"the end"
    assert (done.returncode, b"not written to a terminal" in done.stderr) == (1, True)
    os.close(ours)


def test_verify_tries_the_request_with_the_present_settings(config: Path) -> None:
    source = load(config, with_sources=True).sources["krtc-main"]
    strange = _strange(source)
    record(config, refused(at_s=NOW_S, exact=post(source, signed(source))), refused(at_s=NOW_S, exact=strange), LATE)
    good, bad, late = (run(config, "verify", number) for number in ("1", "2", "3"))
    assert (good.exit_code, bad.exit_code, late.exit_code) == (0, 1, 1)
    assert good.output.endswith("\nkrtc-main would accept it.\n")
    assert "fails    signature  the signature fits no secret of this source" in bad.output
    assert "3,604 s old at the receipt, and 300 s are allowed: is the clock right?" in late.output
    assert json.loads(run(config, "verify", "3", "--json").output)["reason"] == "stale_timestamp"


def _strange(source: AnySource) -> bytes:
    return post(source, signed(with_secrets(source, ["a-secret-of-somebody-else"])))


async def test_a_callback_that_a_real_ingress_refused_is_listed_and_tried_again(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.config.write_text(f"{project.config.read_text()}\n[audit]\nrequests = true\n")
    sources = project.settings.sources
    calls = sources["calls"]
    process = project.start("ingress")
    try:
        call = signed(calls, at_s=time.time() - 3604)
        await _send(project.settings.ingress.port, post(calls, call))
        process.wait_for("refused: stale_timestamp")
        process.stop()
    finally:
        project.close()
    (facts,) = [each for each in process.lines if "refused: stale_timestamp" in each["message"]]
    assert (facts["peer"], facts["method"], facts["path"]) == ("127.0.0.1", "POST", "/hooks/calls")
    (found,) = [json.loads(each) for each in project.call("refused", "list", "--json").stdout.splitlines()]
    assert found["detail"] == facts["detail"]
    assert found["detail"].endswith("and 300 s are allowed: is the clock right?")
    again = project.call("refused", "verify", str(found["id"]))
    assert (again.returncode, "secret 1 of 1 fits" in again.stdout) == (1, True)
    patient = project.config.read_text().replace("[sources.calls]", "[sources.calls]\ntolerance_s = 4000")
    project.config.write_text(patient)
    assert project.call("refused", "verify", str(found["id"])).returncode == 0


async def _send(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    assert b" 401 " in await asyncio.wait_for(reader.readline(), 60)
    writer.close()
