"""`hookline verify`: whether a captured request would be accepted, and if not, which step fails and by how much."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hookline.cli.main import cli, main
from hookline.cli.settings_template import settings_file
from hookline.schemas.provider import AnySource
from hookline.settings import load
from tests.audit.refused_requests import record, refused
from tests.ingress.callbacks import post, signed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hookline.toml"
    path.write_text(settings_file())
    return path


def source_of(config: Path, name: str) -> AnySource:
    return load(config, with_sources=True).sources[name]


def callback(config: Path, name: str, *, age_s: float = 0) -> bytes:
    source = source_of(config, name)
    return post(source, signed(source, at_s=time.time() - age_s))


def run(config: Path, source: str, *arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["verify", source, *arguments, "--config", str(config)], input=stdin)


def found(config: Path, request: bytes, *arguments: str, source: str = "calls") -> dict[str, Any]:
    done = run(config, source, "--request", "-", "--json", *arguments, stdin=request)
    result: dict[str, Any] = json.loads(done.output)
    assert done.exit_code == (0 if result["accepted"] else 1)
    return result


def test_a_file_with_a_genuine_callback_passes(config: Path) -> None:
    file = config.with_name("callback.http")
    file.write_bytes(callback(config, "krtc-main"))
    done = run(config, "krtc-main", "--request", str(file))
    assert done.exit_code == 0
    assert done.output.endswith("\n\nkrtc-main would accept it.\n")


def test_a_stale_callback_fails_by_how_much_and_passes_as_of_its_time(config: Path) -> None:
    request = callback(config, "calls", age_s=7200)
    late = found(config, request)
    assert late["reason"] == "stale_timestamp"
    done = run(config, "calls", "--request", "-", stdin=request)
    assert done.output.endswith("calls would refuse it: stale_timestamp. --at tries it as of another time.\n")
    assert any("s old, and 300 s are allowed: is the clock right?" in each["text"] for each in late["steps"])
    assert found(config, request, "--at", "2h")["accepted"] is True


def test_the_address_is_that_of_the_option(config: Path) -> None:
    text = config.read_text().replace("[sources.calls]", '[sources.calls]\nallow_from = ["203.0.113.0/24"]')
    config.write_text(text)
    request = callback(config, "calls")
    assert found(config, request, "--from", "203.0.113.9")["accepted"] is True
    assert found(config, request, "--from", "198.51.100.1")["reason"] == "refused_address"
    unsure = run(config, "calls", "--request", "-", stdin=request)
    assert unsure.output.endswith("calls would accept it, if what is unknown fits.\n")


def test_each_step_has_its_line_in_a_pipe(config: Path) -> None:
    done = run(config, "calls", "--request", "-", stdin=callback(config, "zoom-main"))
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert [line.split()[:2] for line in lines[:5]] == [
        ["fails", "path"], ["fits", "head"], ["fits", "body"], ["fails", "signature"], ["unknown", "time"],
    ]  # fmt: skip
    assert "a secret of zoom-main fits" in lines[3]
    assert lines[-1] == "calls would refuse it: unknown_source."


def test_a_refused_request_is_tried_at_another_source(config: Path) -> None:
    record(config, refused(at_s=time.time(), path="/hooks/calls", exact=callback(config, "krtc-main")))
    assert run(config, "krtc-main", "--refused", "1").exit_code == 0
    assert run(config, "calls", "--refused", "1").exit_code == 1
    assert "no refused request 2" in run(config, "calls", "--refused", "2").output


@pytest.mark.parametrize("arguments", [[], ["--request", "-", "--refused", "1"]])
def test_exactly_one_request_is_needed(config: Path, arguments: list[str]) -> None:
    done = run(config, "calls", *arguments, stdin=b"")
    assert (done.exit_code, "one of --request FILE and --refused ID is needed" in done.output) == (2, True)


def test_what_is_no_request_is_a_usage_error_that_quotes_nothing(config: Path) -> None:
    done = run(config, "calls", "--request", "-", stdin=b'{"secret":"abcdefgh"}')
    assert (done.exit_code, "this is no HTTP request" in done.output) == (2, True)
    assert "abcdefgh" not in done.output


def test_a_head_that_is_no_utf8_is_escaped_in_json(config: Path) -> None:
    request = callback(config, "calls").replace(b"/hooks/calls", b"/hooks/calls\xff")
    steps = found(config, request)["steps"]
    assert any("\udcff" in each["text"] for each in steps)


def test_a_huge_file_is_not_read(config: Path) -> None:
    done = run(config, "calls", "--request", "/dev/zero")
    assert (done.exit_code, "larger than 20,971,520 bytes" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("option", "value"), [("--from", "nowhere"), ("--at", "yesterday"), ("--request", "none.http")]
)
def test_a_wrong_argument_is_named(config: Path, option: str, value: str) -> None:
    done = run(config, "calls", option, value)
    assert (done.exit_code, option in done.output, value in done.output) == (2, True, True)


def test_a_source_that_is_not_there_is_said(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hookline", "verify", "call", "--refused", "1", "--config", str(config)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "there is no source 'call'; did you mean calls?" in capsys.readouterr().err


def test_nothing_that_is_printed_holds_a_secret_or_a_signature(config: Path) -> None:
    for name in ("calls", "krtc-main", "zoom-main", "100ms-main"):
        source = source_of(config, name)
        call = signed(source, at_s=time.time())
        said = run(config, name, "--request", "-", stdin=post(source, call)).output
        assert "would accept it" in said
        proofs = [value for value in call.headers.values() if len(value) > 16]
        assert not [proof for proof in (*proofs, *(key.decode() for key in source.keys)) if proof in said]
