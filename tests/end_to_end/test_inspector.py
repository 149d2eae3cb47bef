"""The inspector of real processes in each role, with the servers of an installation on several machines."""

import json
from pathlib import Path
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


def states_of(url: str, event_id: str) -> dict[str, str]:
    """What each queue has done with an event."""
    rows = read(url, "/event", id=event_id)["queues"]["value"]  # type: ignore[index]  # JSON
    return {row["state"]["queue"]: row["state"]["state"] for row in rows}


@pytest.mark.timeout(400)  # five processes start
def test_the_inspector_of_each_role_shows_the_same_installation(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store_url = postgresql.server_url(request.config)
    project = Project(tmp_path, broker_url=server_url(request.config), store_url=store_url)
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
            room = read(url, "/rooms")["rooms"][0]["place"]  # type: ignore[index]  # JSON
            provider, source, room_id = room
            assert source == "krtc-main"
            page = read(url, "/room", provider=provider, source=source, id=room_id)
            events: list[dict[str, str]] = page["events"]  # type: ignore[assignment]  # JSON
            joined = next(event for event in events if event["topic"] == "participant.joined")
            until(lambda url=url, joined=joined: states_of(url, joined["id"]).get("rooms") == "finished")  # type: ignore[misc]
            assert states_of(url, joined["id"])[queue] == "unknown"
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
