"""A provider from outside, from the callback over HTTP to the typed event in a worker's process."""

import hmac
import json
import signal
import time
import urllib.error
import urllib.request

from tests.end_to_end.processes import Project, until
from tests.outside_providers.example import write_example

SECRET = b"a-secret-of-some-length"
BODY = b'{"room":"lesson","at":1700000000}'
WORKER = '''
"""Writes down what it is given."""

from pathlib import Path

from hookline import Delivery, worker
from hookline.events import RoomCreated


@worker(RoomCreated, queue="lessons")
async def lessons(event: RoomCreated, delivery: Delivery) -> None:
    Path("opened.txt").write_text(f"{delivery.topic} {event.room_id} {event.occurred_at:%Y-%m-%d}")
'''

SIGN = """lambda body, source, now_s: hookline.provider.Outgoing(
    body, {"Acme-Signature": hmac.digest(source.keys[0], body, "sha256").hex()}
)"""


def with_acme(project: Project) -> str:
    """Add a source of the provider, with its secret in a file. Returns the URL of the source."""
    url = project.url("acme-main")  # before: the settings are loaded in this process, and import the module here
    reference = write_example(project.folder)
    source = f'\n[sources.acme-main]\nprovider = "{reference}"\nsecrets = ["file:secret.txt"]\n'
    project.config.write_text(project.config.read_text() + source)
    (project.folder / "secret.txt").write_bytes(SECRET)
    (project.folder / "lessons.py").write_text(WORKER)
    return url


def declare(project: Project, argument: str) -> None:
    """Give the provider one argument more."""
    module = project.folder / "acme_rtc" / "hookline.py"
    text = module.read_text().replace("import msgspec", "import hookline.provider\nimport msgspec")
    module.write_text(text.replace('title="Acme RTC"', f'title="Acme RTC", {argument}'))


def post(url: str, signature: str) -> int:
    headers = {"Content-Type": "application/json", "Acme-Signature": signature}
    request = urllib.request.Request(url, data=BODY, headers=headers)  # noqa: S310  http
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310  http
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_worker_without_the_secrets_gets_the_typed_event_of_a_provider_from_outside(project: Project) -> None:
    url = with_acme(project)
    project.start("ingress")
    signature = hmac.digest(SECRET, BODY, "sha256").hex()
    assert (post(url, signature), post(url, signature[::-1])) == (200, 401)
    (project.folder / "secret.txt").unlink()
    project.start("worker", "lessons.py", "rooms")
    (project.folder / "secret.txt").write_bytes(SECRET)
    assert post(url, signature) == 200
    opened = project.folder / "opened.txt"
    until(lambda: opened.exists() and opened.read_text() != "")  # the file is there before its text
    assert opened.read_text() == "acme.acme-main.room.created lesson 2023-11-14"
    until(lambda: [room["room_id"] for room in project.rooms() if room["source"] == "acme-main"] == ["lesson"])


def test_the_commands_know_a_provider_from_outside(embedded_project: Project) -> None:
    with_acme(embedded_project)
    provider = embedded_project.folder / "acme_rtc" / "hookline.py"
    provider.write_text(
        provider.read_text().replace('title="Acme RTC"', 'title="Acme RTC", types={"opened": "room.created"}')
    )
    topics = {row["topic"]: row["sent_by"] for row in json.loads(embedded_project.call("topics", "--json").stdout)}
    assert topics["room.created"]["acme"] == ["opened"]
    without_samples = embedded_project.call("send", "acme-main")
    assert (without_samples.returncode, without_samples.stderr) == (
        2,
        "hookline: Acme RTC has no samples; send a body of your own with --body FILE\n",
    )
    (embedded_project.folder / "body.json").write_bytes(BODY)
    unsigned = embedded_project.call("send", "acme-main", "--body", "body.json")
    assert (unsigned.returncode, unsigned.stderr) == (
        2,
        "hookline: body.json cannot be signed as Acme RTC does: its provider has no `sign`\n",
    )


def test_a_body_is_sent_as_a_provider_from_outside_signs_it(embedded_project: Project) -> None:
    with_acme(embedded_project)
    provider = embedded_project.folder / "acme_rtc" / "hookline.py"
    sign = (
        "lambda body, source, _: Outgoing(body, {'Acme-Signature': hmac.digest(source.keys[0], body, 'sha256').hex()})"
    )
    text = provider.read_text().replace('title="Acme RTC"', f'title="Acme RTC", sign={sign}')
    provider.write_text(text.replace("import Envelope,", "import Envelope, Outgoing,"))
    (embedded_project.folder / "body.json").write_bytes(BODY)
    embedded_project.start("ingress")
    sent = embedded_project.call("send", "acme-main", "--body", "body.json", "--json")
    assert (sent.returncode, json.loads(sent.stdout)["status"]) == (0, 200), sent.stderr


def test_what_a_provider_prints_is_not_taken_for_what_a_process_tells_its_supervisor(embedded_project: Project) -> None:
    with_acme(embedded_project)
    text = embedded_project.config.read_text()
    embedded_project.config.write_text(text.replace("[ingress]\n", "[ingress]\nprocesses = 2\n", 1))
    provider = embedded_project.folder / "acme_rtc" / "hookline.py"
    printed = "print('acme is loaded', 'x' * 100_000, end=' ', flush=True)\n"
    provider.write_text(provider.read_text() + printed)
    ingresses = embedded_project.start("ingress")
    until(lambda: ingresses.count("listening on") == 2)
    time.sleep(7)  # longer than a process may be silent
    assert ingresses.count("has said nothing") == 0
    assert ingresses.count("acme is loaded") == 2
    assert ingresses.stop() == 0


def test_settings_stay_as_they_were_if_a_provider_fails_to_check_them(embedded_project: Project) -> None:
    with_acme(embedded_project)
    declare(embedded_project, "fault=lambda source: {300: None}[source.tolerance_s]")
    ingress = embedded_project.start("ingress")
    text = embedded_project.config.read_text()
    for setting, said in (("1", "failed with KeyError in hookline.py:"), ("300", "the settings were read anew")):
        embedded_project.config.write_text(f"{text}tolerance_s = {setting}\n")
        ingress.popen.send_signal(signal.SIGHUP)
        ingress.wait_for(said)
    assert ingress.count("the settings stay as they were: ") == 1
