"""Checks of the containers that run.sh has started. One line for each check; exit code 1 if one fails.

Callbacks are signed with the secrets that the ingress has: the settings are those that `setup` wrote, with other paths.
"""

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from hookline.cli.sample_callbacks import callbacks_of
from hookline.schemas.envelope import seal
from hookline.schemas.events import Event, Unknown
from hookline.schemas.provider import Request
from hookline.settings import Settings, load

ROOT = Path(__file__).parents[2]
BASE = f"http://{os.environ['HOOKLINE_LISTEN']}"
SECRETS = Path(os.environ["HOOKLINE_SECRETS"])
COMPOSE = sys.argv[1].split()
WORKERS = int(os.environ["HOOKLINE_WORKER_COUNT"])
IN_FLIGHT = 16  # how many events one worker handles at a time
INGRESSES = ("ingress-1", "ingress-2")
OURS = (*INGRESSES, "rooms", "worker")
_WORKERS_OWN = ("hookline.counter", "hookline.rooms")
ALL = (*OURS, "haproxy", "rabbitmq", "postgresql", "prometheus")
PROMETHEUS = f"http://{os.environ['HOOKLINE_PROMETHEUS_LISTEN']}"
GRAFANA = f"http://{os.environ['HOOKLINE_GRAFANA_LISTEN']}"

_READY_S = 180
_HANDLED_S = 120

Answers = list[dict[str, Any]]


def command(*arguments: str, ok: bool = True) -> str:
    """The output of a command. Raises AssertionError if it fails and `ok` is asked for."""
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  fixed programs
    assert not ok or done.returncode == 0, f"{' '.join(arguments[:6])}: {(done.stderr or done.stdout)[-500:]}"
    return done.stdout


def compose(*arguments: str) -> str:
    return command(*COMPOSE, *arguments)


def in_container(service: str, *arguments: str, ok: bool = True) -> str:
    return command(*COMPOSE, "exec", "-T", service, *arguments, ok=ok)


def containers(*services: str) -> list[str]:
    return compose("ps", "-q", *services).split()


def inspect(container: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(command("docker", "inspect", container))[0]
    return facts


def wait(what: str, done: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.5)


class Report:
    """Runs checks, and continues when one fails."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, title: str, run: Callable[[], str]) -> bool:
        started = time.monotonic()
        try:
            result, detail = "PASS", run()
        except Exception as error:  # noqa: BLE001  whatever it is, the check failed
            result, detail = "FAIL", f"{type(error).__name__}: {error}"
            self.failed += 1
        sys.stdout.write(f"{result}  {title}: {detail} ({time.monotonic() - started:.1f} s)\n")
        sys.stdout.flush()
        return result == "PASS"


def foreign_secret() -> str:
    """In base64, since some providers issue nothing else."""
    return base64.b64encode(secrets.token_bytes(24)).decode()


class Sender:
    """`hookline send`, through HAProxy."""

    def __init__(self, folder: Path) -> None:
        text = (SECRETS / "hookline.toml").read_text()
        text = text.replace("secrets/amqp_url", "secrets/amqp_ingress_url")
        genuine = text.replace("/run/secrets", str(SECRETS))
        forged = re.sub(r'"file:/run/secrets/sources/[^"]+"', lambda _: f'"{foreign_secret()}"', text)
        self.genuine, self.forged = folder / "genuine.toml", folder / "forged.toml"
        self.genuine.write_text(genuine)
        self.forged.write_text(forged.replace("/run/secrets", str(SECRETS)))
        self.settings: Settings = load(self.genuine, with_sources=True)
        self.accepted = 0

    def start(self, source: str, *options: str, config: Path | None = None) -> "subprocess.Popen[str]":
        arguments = [sys.executable, "-m", "hookline", "send", source, "--json", "--url", f"{BASE}/hooks/{source}"]
        arguments += ["--config", str(config or self.genuine), *options]
        return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own program

    def send(self, source: str, *options: str, config: Path | None = None) -> Answers:
        with self.start(source, *options, config=config) as process:
            assert process.stdout is not None
            answers = [json.loads(line) for line in process.stdout]
        self.accepted += good(answers)
        return answers

    def events_of_story(self, source: str) -> int:
        """How many canonical events one callback of each type makes."""
        return len(self._events(source))

    def has_rooms(self, source: str) -> bool:
        return any(not isinstance(event, Unknown) for event in self._events(source))

    def _events(self, source: str) -> list[Event]:
        account = self.settings.sources[source]
        provider, events = account.provider, list[Event]()
        for callback in callbacks_of(account, provider.samples, len(provider.samples)):
            signed = provider.sign(callback.body, account, callback.at_s)
            kept = provider.keep_query(signed.query) if provider.keep_query else ""
            envelope = seal(
                provider.identify(Request(signed.body, CIMultiDict(signed.headers), kept)),
                signed.body,
                provider=provider.name,
                source=source,
                content_type=provider.content_type,
                received_at=datetime.now(UTC),
                query=kept,
            )
            events += provider.normalise(envelope)
        return events

    def tampered(self, source: str) -> int:
        """The answer to a genuine callback in whose body a letter was changed on the way."""
        account, now_s = self.settings.sources[source], time.time()
        signed = account.provider.sign(json.dumps(account.provider.samples[0].body(2, now_s)).encode(), account, now_s)
        changed = signed.body.replace(b"demo", b"demi")
        assert changed != signed.body
        query = f"?{signed.query}" if signed.query else ""
        return status(f"/hooks/{source}{query}", changed, {"Content-Type": "application/json", **signed.headers})


def status(path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(BASE + path, data=body, headers=headers or {})  # noqa: S310  http
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  http
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def fetched(url: str, login: str = "") -> dict[str, Any]:
    """What an API answers in JSON; nothing while it cannot be reached."""
    basic = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=basic), timeout=30) as response:  # noqa: S310
            found: dict[str, Any] = json.load(response)
    except OSError:
        return {}
    return found


def asked(query: str) -> float:
    """What Prometheus finds now."""
    found = fetched(f"{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    values = found.get("data", {}).get("result", ())
    return float(values[0]["value"][1]) if values else 0


class Handled:
    """The events that the four counters wrote down."""

    def __init__(self) -> None:
        self.expected = 0
        self.twice = 0

    def read(self) -> list[dict[str, str]]:
        lines = in_container("rooms", "sh", "-c", "cat /var/lib/hookline/handled-*.jsonl 2>/dev/null", ok=False)
        return [json.loads(line) for line in lines.splitlines()]

    def settle(self, least: int, most: int, *, twice_at_most: int = 0) -> str:
        """Wait for this many more events. Raises AssertionError for fewer, for more, and for repeats."""
        least, most = self.expected + least, self.expected + most
        wait(f"{least} events handled", lambda: len({line["id"] for line in self.read()}) >= least, _HANDLED_S)
        wait("empty queues", lambda: not waiting(), _HANDLED_S)
        times = Counter(line["id"] for line in self.read())
        twice = len([event for event in times if times[event] > 1]) - self.twice
        assert twice <= twice_at_most, f"{twice} events were handled more than once"
        assert least <= len(times) <= most, f"{len(times)} handled, expected {least} to {most}"
        detail = f"{len(times) - self.expected} new, {f'{twice} of them twice' if twice else 'each once'}"
        self.expected, self.twice = len(times), self.twice + twice
        return detail

    def shares(self) -> list[int]:
        """How many each container handled."""
        return sorted(Counter(line["host"] for line in self.read()).values())


def waiting() -> int:
    """Messages of the workers' queues and of those in which an event waits for its next attempt.

    An event of a worker that was killed may wait there until the dead one's claim ends.
    """
    return sum(messages for name, (messages, _) in all_queues().items() if name in _WORKERS_OWN or ".retry." in name)


def queues() -> dict[str, tuple[int, int]]:
    """Messages and consumers of the workers' own queues."""
    return {name: found for name, found in all_queues().items() if name in _WORKERS_OWN}


def all_queues() -> dict[str, tuple[int, int]]:
    said = in_container(
        "rabbitmq", "rabbitmqctl", "-q", "list_queues", "-p", "hookline", "name", "messages", "consumers"
    )
    rows = [line.split("\t") for line in said.splitlines() if line.startswith("hookline.")]
    return {name: (int(messages), int(consumers)) for name, messages, consumers in rows}


def good(answers: Answers) -> int:
    return len([answer for answer in answers if 200 <= answer["status"] < 300])


def accepted(answers: Answers, count: int | None = None) -> str:
    refused = Counter(answer["status"] for answer in answers if not 200 <= answer["status"] < 300)
    assert not refused, f"of {len(answers)}, refused {dict(refused)}"
    assert answers, "nothing was sent"
    assert count is None or len(answers) == count, f"{len(answers)} of {count} sent"
    slowest_s = max(answer["seconds"] for answer in answers)
    return f"{len(answers)} of {len(answers)} answered 2xx, the slowest in {slowest_s * 1000:.0f} ms"


class Checks:
    def __init__(self, folder: Path) -> None:
        self.sender = Sender(folder)
        self.sources = list(self.sender.settings.sources)
        self.handled = Handled()
        self.logs = ""

    def ready(self) -> str:
        wait("HAProxy ready and all workers subscribed", self._ready, _READY_S)
        return f"{len(containers())} containers"

    def _ready(self) -> bool:
        seen = queues()
        consumers = seen.get("hookline.counter", (0, 0))[1], seen.get("hookline.rooms", (0, 0))[1]
        return status("/readyz") == 200 and consumers == (WORKERS, 1)

    def locked_down(self) -> str:
        for container in containers():
            facts = inspect(container)
            host, name = facts["HostConfig"], facts["Name"]
            assert host["ReadonlyRootfs"], f"{name}: its root can be written"
            assert host["CapDrop"] == ["ALL"], f"{name}: has capabilities"
            assert "no-new-privileges:true" in host["SecurityOpt"], f"{name}: may gain privileges"
            assert min(host["Memory"], host["PidsLimit"]) > 0, f"{name}: has no limits"
            assert "rabbitmq" in name or facts["Config"]["User"] not in ("", "0", "root"), f"{name}: is root"
            environment = "\n".join(facts["Config"]["Env"])
            assert not [secret for secret in known_secrets() if secret in environment], f"{name}: secret in environment"
        return "read-only, no capabilities, no new privileges, limits, nobody is root, no secret in the environment"

    def separated(self) -> str:
        reach = "import socket; socket.create_connection(('{}', {}), 3)"
        in_container("ingress-1", "python", "-c", reach.format("rabbitmq", 5672))
        refused = in_container("haproxy", "bash", "-c", "exec 3<>/dev/tcp/rabbitmq/5672 && echo reached", ok=False)
        assert "reached" not in refused, "HAProxy reaches RabbitMQ"
        for service in ("ingress-1", "worker"):
            out = in_container(service, "python", "-c", reach.format("192.0.2.1", 80) + "; print('reached')", ok=False)
            assert "reached" not in out, f"{service} has a way out"
        known = in_container("ingress-1", "getent", "hosts", "postgresql", ok=False)
        assert not known, "the ingress reaches PostgreSQL"
        return "HAProxy reaches no RabbitMQ, the ingress no PostgreSQL; the ingress and the workers have no way out"

    def own_files(self) -> str:
        owner = SECRETS.stat().st_uid
        paths = [SECRETS, *SECRETS.rglob("*")]
        assert {path.stat().st_uid for path in paths} == {owner}, "some files of setup have another owner"
        assert SECRETS.stat().st_mode & 0o077 == 0, "others may enter the folder of the secrets"
        return f"{len(paths)} files and folders of user {owner}; nobody else can enter"

    def rights(self) -> str:
        read = "await channel.basic_get('hookline.counter')"
        publish = "await channel.basic_publish(b'', exchange='hookline.{}', routing_key='a.b.c.d.p00')"
        refused = [("ingress-1", read), ("worker", publish.format("events"))]
        if self.sender.settings.history.enabled:
            refused.append(("worker", publish.format("received")))
        for service, attempt in refused:
            answer = in_container(service, "python", "-c", _ATTEMPT.format(attempt=attempt))
            assert answer.strip() == "ChannelAccessRefused", f"{service}: {answer}"
        return "the user of the ingress cannot read workers' queues; the workers' user cannot publish events"

    def every_type(self) -> str:
        answers: Answers = []
        for source in self.sources:
            answers += self.sender.send(source)
        said = accepted(answers, sum(len(each.provider.samples) for each in self.sender.settings.sources.values()))
        events = sum(self.sender.events_of_story(source) for source in self.sources)
        return f"{said}; {self.handled.settle(events, events)}, by {len(self.handled.shares())} of {WORKERS} workers"

    def forged(self) -> str:
        answers: Answers = []
        for source in self.sources:
            answers += self.sender.send(source, config=self.sender.forged)
        wrong = [answer for answer in answers if answer["status"] != 401]
        assert not wrong, f"not refused: {wrong}"
        tampered = {source: self.sender.tampered(source) for source in ("krtc-main", "calls", "voice")}
        assert set(tampered.values()) == {401}, f"tampered: {tampered}"
        return f"{len(answers)} with foreign secrets and {len(tampered)} with a changed body: all 401; " + (
            self.handled.settle(0, 0)
        )

    def duplicates(self) -> str:
        source = "meetings"
        said = accepted(self.sender.send(source, "--duplicate", "--shuffle"))
        events = self.sender.events_of_story(source)
        return f"{said}; {self.handled.settle(events, events)}"

    def elsewhere(self) -> str:
        answers = {path: status(path, b"{}") for path in ("/hooks/nobody", "/metrics", "/", "/healthz")}
        assert set(answers.values()) == {404}, str(answers)
        return f"404 for {', '.join(answers)}"

    def history(self) -> str:
        """Every callback that was accepted is kept, and the worker's user can read it."""
        options = ("--since", "1h", "--to", "counter", "--dry-run", "--json")
        kept = json.loads(in_container("rooms", "hookline", "replay", *options))["events"]
        assert kept == self.sender.accepted, f"{kept} kept, {self.sender.accepted} accepted"
        return f"{kept} kept"

    def rooms(self) -> str:
        rooms = json.loads(in_container("rooms", "hookline", "rooms", "--json", "--limit", "500"))
        found = Counter(room["source"] for room in rooms)
        missing = {source for source in self.sources if self.sender.has_rooms(source)} ^ set(found)
        assert not missing, f"rooms of {dict(found)}, and not of {missing}"
        past = [room for room in rooms if room["source"] == "krtc-main" and not room["open"] and room["sessions"]]
        assert past, "no KRTC room with its sessions"
        return ", ".join(f"{source}: {count}" for source, count in sorted(found.items()))

    def least_store(self) -> str:
        """The workers' role owns its database, and is no superuser."""
        asked = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'hookline'"
        said = in_container("postgresql", "psql", "-U", "postgres", "-Atc", asked)
        assert said.strip() == "f|f|f", said
        password = in_container("ingress-1", "cat", "/run/secrets/store_password")
        assert password == "none", "the ingress has the password of the store"
        return "it may do nothing outside its database; the ingress has no password"

    def operator(self) -> str:
        """The operator sees the queues, and what the ingress has refused."""
        said = command(*COMPOSE, "run", "--rm", "operator", "status", "--json")
        seen = {each["queue"]: each["consumers"] for each in json.loads(said)["queues"]}
        assert seen == {"counter": WORKERS, "rooms": 1}, said[:300]
        refused = command(*COMPOSE, "run", "--rm", "operator", "refused", "list", "--json").splitlines()
        assert refused, "it sees no refused callbacks"
        return f"it sees {', '.join(seen)}, their consumers and {len(refused)} refused callbacks"

    def metrics(self) -> str:
        """Prometheus scrapes every process with the token, and has loaded the alert rules."""
        up, all_of_them = 'count(up{job="hookline"} == 1)', len(INGRESSES) + WORKERS + 1
        wait("all processes scraped", lambda: asked(up) == all_of_them, _READY_S)
        received = "sum(hookline_received_total)"
        wait("callbacks counted", lambda: asked(received) == self.sender.accepted, _READY_S)
        groups = fetched(f"{PROMETHEUS}/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules, "no rules"
        assert not [rule for rule in rules if rule.get("lastError")], "some rules fail"
        without = in_container("worker", "python", "-c", _WITHOUT_TOKEN)
        assert without.strip() == "401", without
        return f"{all_of_them} processes, {self.sender.accepted} callbacks, {len(rules)} rules"

    def grafana(self) -> str:
        """Grafana has the dashboard, and its Prometheus answers a panel's query."""
        if not containers("grafana"):
            return "left out, because its image is not there"
        login = f"admin:{(SECRETS / 'grafana_password').read_text()}"
        wait("Grafana", lambda: fetched(f"{GRAFANA}/api/health", login).get("database") == "ok", _READY_S)
        board = fetched(f"{GRAFANA}/api/dashboards/uid/hookline", login)["dashboard"]
        health = fetched(f"{GRAFANA}/api/datasources/uid/prometheus/health", login)
        assert health["status"] == "OK", str(health)
        return f"{len(board['panels'])} panels; {health['message']}"

    def death_of_an_ingress(self) -> str:
        """HAProxy sends again what was in flight to the dead ingress."""
        answers, died_at = self._send_and_kill(containers("ingress-1")[0], 200)
        handled = self.handled.settle(good(answers), len(answers))
        said = accepted(answers, 200)
        compose("up", "-d", "--no-deps", "ingress-1")
        wait("ingress-1 healthy again", lambda: self._healthy("ingress-1"), _READY_S)
        return f"{said}; dead by the {died_at}th; {handled}"

    def death_of_a_worker(self) -> str:
        """Others handle what it had in flight: again, if the dead one had handled and not yet settled it."""
        answers, died_at = self._send_and_kill(containers("worker")[0], 200)
        handled = self.handled.settle(200, 200, twice_at_most=IN_FLIGHT)
        compose("up", "-d", "--no-deps", "worker")
        wait("all workers again", self._ready, _READY_S)
        return f"{accepted(answers, 200)}; dead by the {died_at}th; {handled}"

    def death_of_rabbitmq(self) -> str:
        """Callbacks go to the spool until it is back: all are accepted, and none is lost."""
        answers, died_at = self._send_and_kill(containers("rabbitmq")[0], 400)
        said = accepted(answers, 400)
        shown = json.loads(command(*COMPOSE, "run", "--rm", "operator", "status", "--json", ok=False))
        assert shown["queues"] is None, "the operator has started RabbitMQ"
        assert shown["spool"]["events"] > 0, f"the operator sees no spool: {shown['spool']}"
        compose("up", "-d", "--no-deps", "rabbitmq")
        wait("ready again", self._ready_again, _READY_S)
        handled = self.handled.settle(400, 400)
        return f"{said}; dead by the {died_at}th; {shown['spool']['events']} seen in the spool; {handled}"

    def _ready_again(self) -> bool:
        try:
            return self._ready() and all(self._healthy(ingress) for ingress in INGRESSES)
        except AssertionError:  # rabbitmqctl fails while the node starts
            return False

    def _send_and_kill(self, container: str, count: int) -> tuple[Answers, int]:
        """SIGKILL the container while callbacks arrive. The answers, and how many of them came before it was dead."""
        died_at = 0
        answers: Answers = []
        killer = threading.Thread(target=command, args=("docker", "kill", container))
        with self.sender.start("krtc-main", "--count", str(count)) as process:
            assert process.stdout is not None
            for line in process.stdout:
                answers.append(json.loads(line))
                if len(answers) == 20:
                    killer.start()
                if not died_at and len(answers) > 20 and not killer.is_alive():
                    died_at = len(answers)
        killer.join()
        assert died_at, "it was killed too late to matter"
        return answers, died_at

    def rolling_restart(self) -> str:
        """New containers for the ingress, one after the other, while callbacks arrive without a pause."""
        answers: Answers = []
        with self.sender.start("krtc-main", "--count", "50000") as process:

            def listen() -> None:
                assert process.stdout is not None
                answers.extend(json.loads(line) for line in process.stdout if line.endswith("\n"))

            listener = threading.Thread(target=listen)
            listener.start()
            for ingress in INGRESSES:
                self.keep_logs(ingress)
                compose("up", "-d", "--no-deps", "--force-recreate", ingress)
                wait(f"{ingress} healthy", partial(self._healthy, ingress), _READY_S)
            still_sending = process.poll() is None
            process.terminate()
            listener.join()
        assert still_sending, f"the callbacks ended too early, after {len(answers)}"
        handled = self.handled.settle(
            good(answers), len(answers) + 1
        )  # one may have been on its way when the sender ended
        return f"{accepted(answers)}; {handled}"

    def _healthy(self, service: str) -> bool:
        found = containers(service)
        return bool(found) and inspect(found[0])["State"]["Health"]["Status"] == "healthy"

    def stop(self) -> str:
        """SIGTERM ends every process of ours in time and with exit code 0."""
        ids = containers(*OURS)
        self.keep_logs(*ALL)
        compose("stop", *OURS)
        codes = {inspect(each)["Name"]: inspect(each)["State"]["ExitCode"] for each in ids}
        assert set(codes.values()) == {0}, str(codes)
        return f"{len(ids)} containers, exit code 0"

    def keep_logs(self, *services: str) -> None:
        self.logs += compose("logs", "--no-color", *services)

    def silent(self) -> str:
        self.keep_logs(*ALL)
        shown = [secret for secret in known_secrets() if secret in self.logs]
        assert not shown, f"{len(shown)} of the secrets are in the logs"
        assert "handled" in self.logs, "the logs are empty"
        return f"none of {len(known_secrets())} secrets in {len(self.logs.splitlines())} lines"


def known_secrets() -> list[str]:
    """The secrets of the sources, the passwords and the token, and the hashes of RabbitMQ's passwords."""
    texts = [path.read_text() for path in SECRETS.iterdir() if path.is_file()]
    passwords = [match[1] for text in texts for match in re.finditer(r"amqp://[^:]+:([^@]+)@rabbitmq", text)]
    hashes = [match[1] for text in texts for match in re.finditer(r'"password_hash": "([^"]+)"', text)]
    passwords += [(SECRETS / name).read_text() for name in ("store_password", "postgresql_password", "admin_token")]
    return [path.read_text() for path in (SECRETS / "sources").iterdir()] + passwords + hashes


_ATTEMPT = """
import asyncio, aiormq
async def main():
    connection = await aiormq.connect(open("/run/secrets/amqp_url").read())
    channel = await connection.channel()
    try:
        {attempt}
        await channel.basic_qos(prefetch_count=1)
        print("allowed")
    except Exception as error:
        print(type(error).__name__)
    await connection.close()
asyncio.run(main())
"""


_WITHOUT_TOKEN = """
import urllib.error, urllib.request
try:
    urllib.request.urlopen("http://ingress-1:9464/metrics", timeout=5)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def in_order(checks: Checks) -> dict[str, Callable[[], str]]:
    """What is checked once all containers are ready, by its title. A later check counts on the earlier ones."""
    return {
        "containers are locked down": checks.locked_down,
        "networks are apart": checks.separated,
        "the files of setup": checks.own_files,
        "RabbitMQ's users have few rights": checks.rights,
        "PostgreSQL's users have few rights": checks.least_store,
        "every type of all providers": checks.every_type,
        "forged and tampered callbacks": checks.forged,
        "every callback twice, in any order": checks.duplicates,
        "requests that are no callbacks": checks.elsewhere,
        **({"history": checks.history} if checks.sender.settings.history.enabled else {}),
        "room view": checks.rooms,
        "the operator's commands": checks.operator,
        "Prometheus": checks.metrics,
        "Grafana": checks.grafana,
        "an ingress is killed while 200 callbacks arrive": checks.death_of_an_ingress,
        "a worker is killed while 200 callbacks arrive": checks.death_of_a_worker,
        "both ingresses are replaced while callbacks arrive": checks.rolling_restart,
        "RabbitMQ is killed while 400 callbacks arrive": checks.death_of_rabbitmq,
        "SIGTERM": checks.stop,
        "logs": checks.silent,
    }


def main() -> int:
    report, checks = Report(), Checks(SECRETS.parent)
    if not report.check("ready", checks.ready):
        return 1
    for title, run in in_order(checks).items():
        report.check(title, run)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
