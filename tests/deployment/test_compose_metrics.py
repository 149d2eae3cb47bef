"""Prometheus and Grafana of compose.yaml: their files agree with the services, and Prometheus accepts its own."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROVISIONING = DEPLOY / "grafana" / "provisioning"
PROMTOOL = shutil.which("promtool")
COMPOSE = shutil.which("docker-compose")


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def job() -> dict[str, Any]:
    (found,) = read(DEPLOY / "prometheus" / "compose.yml")["scrape_configs"]
    assert isinstance(found, dict)
    return found


def mounts(service: str) -> dict[str, str]:
    """Where each file of ours is in a container."""
    pairs = [each.split(":") for each in services()[service]["volumes"] if each.startswith("./")]
    return {source: target for source, target, *_ in pairs}


def test_prometheus_looks_at_every_service_that_has_the_token_on_its_own_network() -> None:
    scraped = set(job()["dns_sd_configs"][0]["names"])
    served = {
        name
        for name, service in services().items()
        if "admin_token" in service.get("secrets", ()) and "metrics" in service.get("networks", ())
    }
    assert served - {"prometheus"} == scraped
    assert {"metrics", "view"} == set(services()["prometheus"]["networks"])
    settings = (DEPLOY / "settings.toml").read_text()
    assert f"port = {job()['dns_sd_configs'][0]['port']}\n" in settings.partition("[admin]")[2]
    assert job()["authorization"]["credentials_file"] == "/run/secrets/admin_token"
    assert job()["job_name"] == "hookline"  # which the alert rules expect


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: apt-get install prometheus")
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    (tmp_path / "token").write_text("a-token")
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
    text = (DEPLOY / "prometheus" / "compose.yml").read_text()
    (tmp_path / "compose.yml").write_text(text.replace("/run/secrets/admin_token", str(tmp_path / "token")))
    command = [PROMTOOL, "check", "config", str(tmp_path / "compose.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  a program of the machine
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = read(PROVISIONING / "datasources" / "prometheus.yaml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True  # the dashboard's variable begins with it
    (provider,) = read(PROVISIONING / "dashboards" / "hookline.yaml")["providers"]
    inside = mounts("grafana")
    assert Path(inside["./deploy/grafana/hookline.json"]).parent == Path(provider["options"]["path"])
    assert inside["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == inside["./deploy/grafana/hookline.json"]


def test_only_the_metrics_profile_starts_them_and_only_this_machine_reaches_them() -> None:
    for name in ("prometheus", "grafana"):
        service = services()[name]
        assert service["profiles"] == ["metrics"]
        assert all(re.match(r"\$\{HOOKLINE_\w+_LISTEN:-127\.0\.0\.1:", port) for port in service["ports"])


def test_the_ingress_gets_no_password_of_the_store_and_workers_no_source() -> None:
    ingress, worker = services()["ingress-1"], services()["worker"]
    assert {"source": "no_password", "target": "store_password"} in ingress["secrets"]
    assert "store_password" not in ingress["secrets"]
    assert "store" not in ingress["networks"]
    assert not [each for each in worker["volumes"] if "sources" in str(each)]


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is missing: apt-get install docker-compose")
def test_docker_compose_accepts_the_file_with_all_profiles() -> None:
    assert COMPOSE is not None
    profiles = [word for name in ("setup", "operator", "metrics") for word in ("--profile", name)]
    done = subprocess.run(  # noqa: S603  a program of the machine
        [COMPOSE, *profiles, "config", "--services"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(services())
