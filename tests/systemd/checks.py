"""Checks of the units of deploy/systemd in the container that run.sh has started. One line for each check."""

import re
import subprocess
import sys
import time
from collections.abc import Callable

CONTAINER = sys.argv[1]
INGRESS, ROOMS, SAMPLE = "hookline-ingress", "hookline-worker@rooms", "hookline-worker@sample_worker"
_WITHIN_S = 120
_AWAY_S = 30  # longer than five starts of RestartSec, after which systemd's default limit gives up
TOKEN = "the-token-of-the-operator"


def inside(*command: str, stdin: str = "", ok: bool = True) -> str:
    """The output of a command in the container. Raises AssertionError if it fails and `ok` is asked for."""
    done = subprocess.run(  # noqa: S603  fixed programs
        ["docker", "exec", "-i", CONTAINER, *command],  # noqa: S607  wherever it is
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ok or done.returncode == 0, f"{' '.join(command[:6])}: {(done.stderr or done.stdout)[-800:]}"
    return done.stdout


def write(path: str, text: str) -> None:
    inside("sh", "-c", f"umask 077; mkdir -p $(dirname {path}); cat > {path}", stdin=text)


def show(unit: str, name: str) -> str:
    return inside("systemctl", "show", "--value", "-p", name, unit).strip()


def journal(unit: str) -> str:
    return inside("journalctl", "--no-pager", "-o", "cat", "-u", unit)


def wait(what: str, done: Callable[[], bool], timeout_s: float = _WITHIN_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.5)


def wait_for_state(unit: str, state: str) -> None:
    wait(f"{unit} {state}", lambda: show(unit, "ActiveState") == state)


def install() -> str:
    """Settings and secrets, as docs/systemd.md says."""
    wait("systemd", lambda: inside("systemctl", "is-system-running", ok=False).strip() in ("running", "degraded"))
    inside("chmod", "644", "/etc/hookline/hookline.toml")
    for role in ("ingress", "worker"):
        write(f"/etc/hookline/secrets/{role}/amqp_url", f"amqp://hookline-{role}:pass-{role}@127.0.0.1/hookline\n")
        write(f"/etc/hookline/secrets/{role}/admin_token", TOKEN)
    write("/etc/hookline/secrets/ingress/krtc-main", "a-secret-of-the-source-krtc-main")
    inside(
        "install", "-D", "-m", "644", "/opt/hookline/deploy/sample_worker.py", "/etc/hookline/workers/sample_worker.py"
    )
    inside("systemctl", "daemon-reload")
    return "settings, secrets and a worker"


def verified() -> str:
    said = inside("systemd-analyze", "verify", INGRESS + ".service", ROOMS + ".service")
    assert not said, said
    return "systemd-analyze verify has nothing to say"


def broker_away_at_start() -> str:
    """The ingress is up with its spool. Workers wait, are not restarted, and say what they wait for."""
    inside("systemctl", "start", INGRESS)
    inside("systemctl", "start", "--no-block", ROOMS, SAMPLE)
    wait("a reason", lambda: "waiting: RabbitMQ" in show(ROOMS, "StatusText"))
    time.sleep(_AWAY_S)
    states = {unit: (show(unit, "ActiveState"), show(unit, "NRestarts")) for unit in (INGRESS, ROOMS, SAMPLE)}
    assert states == {INGRESS: ("active", "0"), ROOMS: ("activating", "0"), SAMPLE: ("activating", "0")}, states
    return f"after {_AWAY_S} s: {show(ROOMS, 'StatusText')[:100]}"


def broker_comes() -> str:
    inside("systemctl", "start", "rabbitmq-server")
    commands = inside("/opt/hookline/bin/python", "/opt/hookline/deploy/rabbitmq_users.py", "--vhost", "hookline")
    for line in commands.splitlines():
        user = re.search(r"add_user \S*hookline-(\w+)", line)
        inside("sh", "-c", line, stdin=f"pass-{user[1]}\n" if user else "")
    for unit in (ROOMS, SAMPLE):
        wait_for_state(unit, "active")
    return "the workers are active, without a restart"


def callbacks() -> str:
    """Through the ingress and RabbitMQ, into the room view on the workers' volume."""
    write("/srv/send.toml", '[sources.krtc-main]\nprovider = "krtc"\nsecrets = ["a-secret-of-the-source-krtc-main"]\n')
    url = "http://127.0.0.1:8080/hooks/krtc-main"
    inside("hookline", "send", "krtc-main", "--config", "/srv/send.toml", "--url", url)
    rooms = "/var/lib/hookline-worker/hookline.db"
    write("/srv/rooms.toml", f'[store]\nurl = "sqlite:{rooms}"\n')
    wait("a room", lambda: "demo" in inside("hookline", "rooms", "--config", "/srv/rooms.toml", ok=False))
    return "handled, and kept in the state folder"


def secrets() -> str:
    """Each role sees its own secrets, and users of the machine see none."""
    seen = {}
    for unit in (INGRESS, ROOMS):
        pid = show(unit, "MainPID")
        seen[unit] = inside("nsenter", "-t", pid, "-m", "ls", "/run/secrets").split()
        assert show(unit, "DynamicUser") == "yes"
        status = inside("cat", f"/proc/{pid}/status")
        assert re.search(r"Uid:\t(?!0\t)", status), "it is root"
        assert "CapEff:\t0000000000000000" in status, "it has capabilities"
    assert "hookline_krtc-main" in seen[INGRESS], seen
    assert "hookline_krtc-main" not in seen[ROOMS], seen
    refused = inside("setpriv", "--reuid=65534", "--clear-groups", "ls", "/var/lib/hookline-ingress/", ok=False)
    assert not refused, "others read the spool"
    return f"the worker sees {', '.join(seen[ROOMS])}"


def reload() -> str:
    """`systemctl reload` returns once the settings were read."""
    for unit in (INGRESS, ROOMS):
        inside("systemctl", "reload", unit)
        wait("read anew", lambda unit=unit: "were read anew" in journal(unit))  # type: ignore[misc]
        assert show(unit, "ActiveState") == "active"
    return "both have read the settings anew"


def killed() -> str:
    for unit in (INGRESS, ROOMS):
        pid = show(unit, "MainPID")
        inside("systemctl", "kill", "-s", "KILL", unit)
        wait("another process", lambda unit=unit, pid=pid: show(unit, "MainPID") not in ("0", pid))  # type: ignore[misc]
        wait_for_state(unit, "active")
    return "both are started again"


def hung() -> str:
    """A frozen process feeds no watchdog."""
    write(f"/etc/systemd/system/{INGRESS}.service.d/soon.conf", "[Service]\nWatchdogSec=4\n")
    inside("systemctl", "daemon-reload")
    inside("systemctl", "restart", INGRESS)
    pid = show(INGRESS, "MainPID")
    time.sleep(8)
    assert show(INGRESS, "MainPID") == pid, "killed though it runs"
    inside("kill", "-STOP", pid)
    wait("another process", lambda: show(INGRESS, "MainPID") not in ("0", pid))
    wait_for_state(INGRESS, "active")
    return "killed and started again"


def stopped() -> str:
    inside("systemctl", "stop", INGRESS, ROOMS, SAMPLE)
    codes = {unit: show(unit, "Result") for unit in (INGRESS, ROOMS, SAMPLE)}
    assert set(codes.values()) == {"success"}, codes
    return "all end with exit code 0"


def wrong_settings() -> str:
    inside("sed", "-i", "s/^\\[broker\\]/[brokr]/", "/etc/hookline/hookline.toml")
    inside("systemctl", "start", ROOMS, ok=False)
    wait_for_state(ROOMS, "failed")
    assert "did you mean broker?" in journal(ROOMS)
    return "failed at once, with the reason in the journal"


CHECKS = {
    "installed": install,
    "units": verified,
    "RabbitMQ away at the start": broker_away_at_start,
    "RabbitMQ comes": broker_comes,
    "callbacks": callbacks,
    "secrets and rights": secrets,
    "reload": reload,
    "SIGKILL": killed,
    "an ingress that hangs": hung,
    "stop": stopped,
    "wrong settings": wrong_settings,
}


def main() -> int:
    for title, run in CHECKS.items():
        started = time.monotonic()
        try:
            detail = run()
        except AssertionError as error:
            sys.stdout.write(f"FAIL  {title}: {error}\n")
            sys.stdout.write(inside("journalctl", "--no-pager", "-n", "60", "-o", "short", ok=False))
            return 1
        sys.stdout.write(f"PASS  {title}: {detail} ({time.monotonic() - started:.1f} s)\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
