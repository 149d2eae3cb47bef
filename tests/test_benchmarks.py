"""The parts of the benchmarks whose faults would go unnoticed: requests, comparisons and percentiles."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from multidict import CIMultiDict

from benchmarks import table
from benchmarks.__main__ import ROWS, main
from benchmarks.callbacks import CallbackGenerator, Prepared, read_requests
from benchmarks.comparing import check_handled, check_kept
from benchmarks.errors import InvalidRun
from benchmarks.figures import Measured, Row, Target, per_s, percentile
from benchmarks.installation import USUAL, Installation
from benchmarks.processes import ROOT
from benchmarks.rows.providers import proof_and_identity
from benchmarks.run import Extent, Run
from benchmarks.servers import Servers
from benchmarks.table import markdown, rendered
from benchmarks.turns import by_turns
from benchmarks.without_sockets import answer_all
from benchmarks.worker_without_sockets import PROGRAMS, handle_all
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers import catalogue

COUNT = 500


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path, "sqlite:hookline.db", "sqlite:hookline.db")


def parsed(request: bytes) -> tuple[str, Request]:
    """The source of a request, and the request as its ingress sees it."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    target = urlsplit(first.split(" ")[1])
    headers = CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return target.path.rpartition("/")[2], Request(body, headers, target.query)


def prepared(installation: Installation, folder: Path, body_bytes: int = 0) -> tuple[Prepared, list[bytes]]:
    made = CallbackGenerator().prepare(folder / "requests", installation.sources, COUNT, body_bytes)
    return made, read_requests(made.path)


def verify(sources: Mapping[str, AnySource], request: bytes) -> None:
    name, parts = parsed(request)
    sources[name].provider.verify(parts, sources[name], time.time())


def test_every_request_is_a_different_event(installation: Installation, tmp_path: Path) -> None:
    made, requests = prepared(installation, tmp_path)
    assert len(set(made.ids)) == len(requests) == COUNT


def test_two_rounds_of_a_run_share_no_event(installation: Installation) -> None:
    generator = CallbackGenerator()
    first, second = ({envelope.id for envelope in generator.envelopes(installation.sources, COUNT)} for _ in range(2))
    assert not first & second


def test_requests_carry_genuine_signatures_of_all_providers_in_turn(installation: Installation, tmp_path: Path) -> None:
    _, requests = prepared(installation, tmp_path)
    for request in requests:
        verify(installation.sources, request)
    names = [parsed(request)[0] for request in requests]
    assert names == list(itertools.islice(itertools.cycle(installation.sources), COUNT))


def test_padded_requests_are_genuine_and_not_larger_than_requested(installation: Installation, tmp_path: Path) -> None:
    _, requests = prepared(installation, tmp_path, body_bytes=4096)
    for request in requests:
        verify(installation.sources, request)
    sizes = {len(parsed(request)[1].body) for request in requests}
    assert min(sizes) > 3800
    assert max(sizes) <= 4096


def test_many_sources_each_have_a_name_and_a_secret_of_their_own(tmp_path: Path) -> None:
    sources = Installation(tmp_path, "sqlite:hookline.db", "sqlite:hookline.db", sources_per_provider=60).sources
    assert len(sources) == len({source.keys for source in sources.values()}) == 60 * len(USUAL)


def test_a_lost_event_makes_a_run_invalid() -> None:
    with pytest.raises(InvalidRun, match="1 of 3 events were not handled"):
        check_handled("worker", ["a", "b"], ["a", "b", "c"])


def test_a_duplicated_event_makes_a_run_invalid() -> None:
    with pytest.raises(InvalidRun, match="1 events are there more than once"):
        check_handled("worker", ["a", "b", "a"], ["a", "b"])


def test_an_event_that_was_not_sent_makes_a_run_invalid() -> None:
    with pytest.raises(InvalidRun, match="1 events are there that were not sent"):
        check_handled("worker", ["a", "b"], ["a"])


def test_the_members_of_a_callback_count_as_one_event() -> None:
    check_handled("worker", ["a:0", "a:1", "b"], ["a", "b"])


@pytest.mark.parametrize("found", [["a"], ["a", "b", "c", "d"]], ids=["too few", "too many"])
def test_a_queue_with_too_few_or_too_many_events_makes_a_run_invalid(found: list[str]) -> None:
    with pytest.raises(InvalidRun, match="2 events were accepted"):
        check_kept("ingress", found, accepted=2, unanswered=1)


def test_events_in_flight_at_the_end_may_be_there() -> None:
    check_kept("ingress", ["a", "b", "c"], accepted=2, unanswered=1)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(50, 50), (99, 99), (99.9, 100), (100, 100), (1, 1)],
    ids=["median", "99th", "99.9th", "highest", "lowest"],
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile(list(range(1, 101)), percent) == expected


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 99) == 7.0


def measured(events: int) -> Measured:
    return Measured(events=events, seconds=1, cpu_s={"program": 0.5})


@pytest.fixture
def row() -> Row:
    return Row(
        name="ingress", unit="events/s", figure=per_s, target=Target(">=", 2), reference_name="bare",
        ours=[measured(100), measured(300), measured(400)], reference=[measured(100), measured(100), measured(200)],
    )  # fmt: skip


def test_each_round_has_a_ratio_and_the_worst_is_compared_with_the_target(row: Row) -> None:
    assert row.ratios == [1.0, 3.0, 2.0]
    assert row.verdict == "MISSED"
    assert "1.00..3.00" in rendered([row])
    assert replace(row, target=Target(">=", 1)).verdict == "met"
    assert replace(row, target=Target("<=", 2.5)).verdict == "MISSED"


def test_a_round_is_two_turns_in_opposite_order() -> None:
    asked: list[str] = []

    def measure(name: str, ready: int) -> Measured:
        asked.append(f"{name}{ready}")
        return Measured(events=100 * ready, seconds=1, cpu_s={"program": 0.5}, p99_ms=ready)

    numbers = itertools.count(1)
    ours, others = by_turns(2, lambda: next(numbers), partial(measure, "ours"), partial(measure, "other"))
    assert asked == ["ours1", "other1", "other2", "ours2", "ours3", "other3", "other4", "ours4"]
    assert [(each.events, each.seconds, each.cpu_s["program"], each.p99_ms) for each in ours] == [
        (300, 2, 1.0, 2),
        (700, 2, 1.0, 4),
    ]
    assert [each.events for each in others] == [300, 700]


def test_the_table_for_a_page_has_the_reference_beside_its_figure(row: Row) -> None:
    head, _, line = markdown([row]).splitlines()
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["ours"] == "300"
    assert cells["reference"] == "100 (bare)"
    assert cells["target"] == ">= 2 MISSED"


def test_the_rows_can_be_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "whole-way" in done.stdout


def test_the_cost_of_every_provider_is_measured_on_genuine_callbacks(tmp_path: Path) -> None:
    with Servers() as servers:
        run = Run(tmp_path, servers, Extent(rounds=1, seconds=0))
        rows = list(proof_and_identity(run))
    assert [row.name for row in rows] == [f"verify and identify, {name}" for name in catalogue()]
    assert all(figure > 0 for row in rows for figure in row.judged)


@pytest.mark.parametrize("program", ["hookline", "bare"])
async def test_a_program_answers_requests_that_arrive_in_memory(
    installation: Installation, tmp_path: Path, program: str
) -> None:
    _, requests = prepared(installation, tmp_path)
    await answer_all(program, installation.folder, requests[:60], 8)


async def test_a_request_that_is_not_accepted_ends_the_count(installation: Installation, tmp_path: Path) -> None:
    _, requests = prepared(installation, tmp_path)
    with pytest.raises(RuntimeError, match="not accepted"):
        await answer_all("hookline", installation.folder, [requests[0].replace(b"/hooks/", b"/nowhere/")], 1)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("at_a_time", [1, 16])
async def test_a_worker_without_sockets_handles_every_event(
    program: str, at_a_time: int, installation: Installation
) -> None:
    envelopes = list(CallbackGenerator().envelopes(installation.sources, 60))
    await handle_all(program, installation.folder, envelopes, 50, at_a_time)


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "find_spec", lambda name: None if name == "faststream" else name)
    result = CliRunner().invoke(main, ["--quick", "worker"])
    assert result.exit_code == 1
    assert result.output == "Error: faststream is not installed: pip install -e '.[test,bench]'\n"


def test_rows_before_an_invalid_one_are_printed_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measured(_: Run) -> Iterator[Row]:
        yield Row(
            name="the first row", unit="events/s", figure=per_s, ours=[Measured(events=1000, seconds=2.0, cpu_s={})]
        )

    def invalid(_: Run) -> Iterator[Row]:
        raise InvalidRun("1 of 3 events were not handled")

    monkeypatch.setattr("benchmarks.__main__.calibrated", lambda run: run)
    monkeypatch.setattr(table, "missing_libraries", list)
    monkeypatch.setattr(table, "machine", dict)
    for name, measure in zip(("worker", "whole-way", "ingress"), (measured, invalid, measured), strict=True):
        monkeypatch.setitem(ROWS, name, measure)
    results = tmp_path / "results.json"
    result = CliRunner().invoke(main, ["--json", str(results), "worker", "whole-way", "ingress"])
    assert result.exit_code == 1
    assert "the first row" in result.stdout
    assert "invalid run: whole-way: 1 of 3 events were not handled" in result.stderr
    assert [row["name"] for row in json.loads(results.read_bytes())["rows"]] == ["the first row"]
