"""deploy/systemd: systemd accepts the units, and they are hardened. `make systemd-test` runs them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hookline.settings import load

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
_EXPOSED_AT_MOST = 20  # tenths; systemd calls up to 1.9 "OK"

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing: apt-get install systemd")
each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def installed(unit: Path, folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    """The unit with a program that is there."""
    text = unit.read_text().replace("/opt/hookline/bin/hookline", sys.executable)
    path = folder / unit.name.replace("@.", "@rooms.")
    path.write_text(text.replace(*change) if change[0] else text)
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False)  # noqa: S603  systemd's own


@needs_systemd
@each_unit
def test_systemd_has_nothing_to_say_about_a_unit(unit: Path, tmp_path: Path) -> None:
    done = analyze("verify", "--man=no", str(installed(unit, tmp_path)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@each_unit
def test_systemd_names_a_mistake(unit: Path, tmp_path: Path) -> None:
    done = analyze("verify", "--man=no", str(installed(unit, tmp_path, ("DynamicUser=yes", "DynamikUser=yes"))))
    assert "DynamikUser" in done.stderr


@needs_systemd
@each_unit
def test_a_unit_is_hardened(unit: Path, tmp_path: Path) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={_EXPOSED_AT_MOST}", str(installed(unit, tmp_path)))
    assert done.returncode == 0, done.stdout[-300:]


@each_unit
def test_a_unit_waits_for_servers_without_a_limit_and_stops_in_time(unit: Path) -> None:
    text = unit.read_text()
    assert "\nStartLimitIntervalSec=0\n" in text
    assert "\nType=notify\n" in text
    assert "\nTimeoutStartSec=infinity\n" in text
    stop_s = int(re.findall(r"\nTimeoutStopSec=(\d+)\n", text)[0])
    settings = (ROOT / "deploy" / "systemd" / "hookline.toml").read_text()
    assert stop_s >= sum(map(int, re.findall(r"(?:drain_s|shutdown_s) = (\d+)", settings.partition("[admin]")[0]))) + 10


def test_the_settings_are_valid_with_the_credentials_and_folders_of_the_units(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "systemd" / "hookline.toml").read_text()
    for name in re.findall(r'^[^#\n]*file:/run/secrets/(hookline_[\w-]+)"', text, re.MULTILINE):
        (tmp_path / name).write_text("a-secret-of-more-than-sixteen-bytes")
    (tmp_path / "hookline_amqp_url").write_text("amqp://user:password@rabbit/hookline")
    (tmp_path / "hookline.toml").write_text(text.replace("/run/secrets", str(tmp_path)))
    settings = load(tmp_path / "hookline.toml", with_sources=True)
    ingress, worker = (unit.read_text() for unit in UNITS)
    for unit in (ingress, worker):
        assert "\nLoadCredential=hookline:/etc/hookline/secrets/" in unit
        assert "\nBindReadOnlyPaths=%d:/run/secrets\n" in unit
    (state,) = re.findall(r"\nStateDirectory=(.*)\n", ingress)
    assert Path(settings.spool.path).parent == Path(settings.audit.path).parent == Path("/var/lib") / state
    (state,) = re.findall(r"\nStateDirectory=(.*)\n", worker)
    assert settings.store.url.startswith(f"sqlite:/var/lib/{state}/")
