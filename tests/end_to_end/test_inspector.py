"""The inspector of real processes in each role, with the servers of an installation on several machines."""

import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.contract.installations import queue_name
from tests.end_to_end.processes import Project, until
from tests.end_to_end.test_operators_port import TOKEN, get, operators_url
from tests.services import postgresql
from tests.services.rabbitmq import server_url

FAILING = """
from hookline import Poisoned, worker
from hookline.events import ParticipantJoined

@worker(ParticipantJoined, queue="{queue}")
async def failing(event: ParticipantJoined) -> None:
    raise Poisoned("nobody knows this user")
"""


def read(url: str, path: str, **query: str) -> dict[str, object]:
    status, text = get(f"{url}/api{path}?{urlencode(query)}", TOKEN)
    assert status == 200, text
    found: dict[str, object] = json.loads(text)
    return found


def joins(url: str) -> list[dict[str, str]]:
    """The events of joining in the latest room."""
    rooms: Any = read(url, "/rooms")["rooms"]
    provider, source, room_id = rooms[0]["place"]
    assert source == "krtc-main"
    events: Any = read(url, "/room", provider=provider, source=source, id=room_id)["events"]
    return [event for event in events if event["topic"] == "participant.joined"]


def has_state(url: str, event_id: str, queue: str, state: str) -> bool:
    """Whether a queue has done this with an event."""
    queues: Any = read(url, "/event", id=event_id)["queues"]
    return {row["state"]["queue"]: row["state"]["state"] for row in queues["value"]}.get(queue) == state


@pytest.mark.timeout(400)  # five processes start
def test_the_inspector_of_each_role_shows_the_same_installation(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with postgresql.own_database(request.config) as store_url:
        check_inspectors(Project(tmp_path, broker_url=server_url(request.config), store_url=store_url))


def check_inspectors(project: Project) -> None:
    config = project.config.read_text().replace("# processes = 4", "processes = 2")
    project.config.write_text(f'{config}\n[admin]\ntoken = "{TOKEN}"\n')
    queue = queue_name()
    (project.folder / "failing.py").write_text(FAILING.format(queue=queue))
    try:
        worker = operators_url(project.start("worker", "rooms", "failing.py"))
        ingress = operators_url(project.start("ingress"))
        assert project.call("send", "krtc-main").returncode == 0
        until(lambda: len(project.call("dead", "list", queue, "--json").stdout.splitlines()) == 2)
        for url in (worker, ingress):
            until(lambda url=url: bool(joins(url)))  # type: ignore[misc]
            joined = joins(url)[0]
            until(partial(has_state, url, joined["id"], "rooms", "finished"))
            assert has_state(url, joined["id"], queue, "parked")
            letters = read(url, "/dead", queue=queue)["letters"]
            assert {letter["reason"] for letter in letters} == {"poisoned"}  # type: ignore[attr-defined]  # JSON
            for path in (
                "/",
                "/queues",
                "/sources",
                "/refused",
                f"/dead?queue={queue}",
                f"/event?id={quote(joined['id'])}",
            ):
                status, text = get(f"{url}{path}", TOKEN)
                assert (status, "Internal Server Error" in text) == (200, False)
            assert 'role="alert"' not in get(f"{url}/", TOKEN)[1]
    finally:
        project.close()


def test_the_inspector_is_where_the_log_says(embedded_project: Project) -> None:
    url = operators_url(embedded_project.start("run", "counter.py"))
    assert embedded_project.call("send", "krtc-main").returncode == 0
    until(lambda: "demo-" in get(f"{url}/rooms")[1])
    status, text = get(f"{url}/")
    assert (status, "This process (run) is ready." in text) == (200, True)
