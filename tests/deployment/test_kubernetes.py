"""deploy/kubernetes: valid by the published schemas, and in agreement with the settings, the image and each other."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import aiormq
import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.rabbitmq_users import commands
from hookline.runtime.worker_files import find_workers
from hookline.schemas.metrics import METRICS
from hookline.schemas.topics import queue_name as queue_of
from hookline.settings import Settings, load
from tests.contract.installations import queue_name
from tests.end_to_end.processes import Project
from tests.end_to_end.test_settings_reload import NEW, OLD, set_token
from tests.services.rabbitmq import Node, own_node

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KEDA = json.loads((ROOT / "tests" / "fixtures" / "keda-2.17.2.json").read_text())
KUBECTL = shutil.which("kubectl")
VERSIONS = ("1.30.0", "1.37.0")
Manifest = dict[str, Any]

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is missing: apt-get install kubernetes-client")


def written() -> Iterator[Manifest]:
    """The manifests as they are in the files."""
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


@cache
def built() -> tuple[Manifest, ...]:
    """The manifests as a cluster gets them."""
    assert KUBECTL is not None
    done = subprocess.run(  # noqa: S603  a program of the test machine
        [KUBECTL, "kustomize", str(FOLDER / "keda")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def check(manifest: Manifest, version: str) -> None:
    """Raises an error for a field that does not exist, is missing, or has a wrong type."""
    if manifest["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(manifest, KEDA[manifest["kind"]])
        known = KEDA[manifest["kind"]]["properties"]["spec"]["properties"]
        assert set(manifest["spec"]) <= set(known)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def only(kind: str, name: str = "") -> Manifest:
    (found,) = (each for each in written() if each["kind"] == kind and name in each["metadata"]["name"])
    return found


def pods() -> list[Manifest]:
    """The templates of all pods."""
    found = [each["spec"]["template"] for each in written() if "template" in each.get("spec", {})]
    assert len(found) == 3
    return found


def labels(pod: Manifest) -> set[tuple[str, str]]:
    return set(pod["metadata"]["labels"].items())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", list(written()), ids=name_of)
def test_a_manifest_is_valid_by_the_published_schema(manifest: Manifest, version: str) -> None:
    check(manifest, version)


@needs_kubectl
def test_what_kustomize_builds_is_valid_and_complete() -> None:
    kinds = sorted(name_of(each) for each in built() if each["kind"] != "ConfigMap")
    assert kinds == sorted(map(name_of, written()))
    for manifest in built():
        check(manifest, VERSIONS[-1])
        assert manifest["metadata"].get("namespace", "hookline") == "hookline"
    images = [each["image"] for pod in built() if "template" in pod.get("spec", {}) for each in containers(pod)]
    assert set(images) == {"registry.example.com/hookline:0.1.0"}


def containers(workload: Manifest) -> list[Manifest]:
    found: list[Manifest] = workload["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("mistake", [("spec", "replica", 2), ("spec", "template", None)], ids=["misspelt", "missing"])
def test_the_schemas_refuse_a_mistake(mistake: tuple[str, str, object]) -> None:
    manifest = json.loads(json.dumps(only("Deployment", "rooms")))
    part, key, value = mistake
    manifest[part][key] = value
    if value is None:
        del manifest[part][key]
    with pytest.raises(kubernetes_validate.ValidationError):
        check(manifest, VERSIONS[-1])
    scaled = json.loads(json.dumps(only("ScaledObject")))
    scaled["spec"]["maxReplicaCount"] = "ten"
    with pytest.raises(jsonschema.ValidationError):
        check(scaled, VERSIONS[-1])


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: pod["metadata"]["labels"]["app.kubernetes.io/component"])
def test_a_pod_satisfies_the_restricted_standard_and_more(pod: Manifest) -> None:
    spec = pod["spec"]
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in (ROOT / "Dockerfile").read_text()
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"livenessProbe", "readinessProbe"} <= set(container)
        assert "memory" in container["resources"]["limits"]


def settings(folder: Path) -> Settings:
    """The settings of the base, with a file for each secret that they name."""
    text = (FOLDER / "base" / "hookline.toml").read_text()
    for name in re.findall(r"file:/run/secrets/([\w-]+)", text):
        (folder / name).write_text("a-secret-of-more-than-sixteen-bytes")
    (folder / "hookline.toml").write_text(text.replace("/run/secrets", str(folder)))
    (folder / "amqp_url").write_text("amqp://user:password@rabbitmq/hookline")
    return load(folder / "hookline.toml", with_sources=True)


def test_ports_folders_and_times_agree_with_the_settings(tmp_path: Path) -> None:
    found = settings(tmp_path)
    (ingress,) = containers(only("StatefulSet"))
    assert {each["name"]: each["containerPort"] for each in ingress["ports"]} == {
        "http": found.ingress.port,
        "metrics": found.admin.port,
    }
    (kept,) = [each["mountPath"] for each in ingress["volumeMounts"] if each["name"] == "spool"]
    assert Path(found.spool.path).parent == Path(kept) == Path(found.audit.path).parent
    grace_s = {pod["spec"]["terminationGracePeriodSeconds"] for pod in pods()}
    assert min(grace_s) >= found.ingress.drain_s + found.ingress.shutdown_s + 10
    assert min(grace_s) >= found.workers.shutdown_s + found.workers.state_s
    opened = {port["port"] for each in written() if each["kind"] == "NetworkPolicy" for port in ports_of(each)}
    assert {found.ingress.port, found.admin.port, 5672, 5432} <= opened


def ports_of(policy: Manifest) -> Iterator[Manifest]:
    for direction in ("ingress", "egress"):
        for rule in policy["spec"].get(direction, ()):
            yield from rule["ports"]


def test_every_secret_that_the_settings_name_is_named_in_the_guide() -> None:
    guide = (ROOT / "docs" / "kubernetes.md").read_text()
    named = set(re.findall(r"file:/run/secrets/([\w-]+)", (FOLDER / "base" / "hookline.toml").read_text()))
    assert named
    assert {name for name in named if f"--from-literal={name}=" not in guide} == set()
    secrets = {
        volume["secret"]["secretName"] for pod in pods() for volume in pod["spec"]["volumes"] if "secret" in volume
    }
    assert {name for name in secrets if f"create secret generic {name}" not in guide} == set()


def test_selectors_find_the_pods_that_they_are_for() -> None:
    for budget in (each for each in written() if each["kind"] == "PodDisruptionBudget"):
        wanted = set(budget["spec"]["selector"]["matchLabels"].items())
        assert len([pod for pod in pods() if wanted <= labels(pod)]) == 1, name_of(budget)
    wanted = set(only("Service")["spec"]["selector"].items())
    assert [pod["spec"]["containers"][0]["args"][0] for pod in pods() if wanted <= labels(pod)] == ["ingress"]
    for policy in (each for each in written() if each["kind"] == "NetworkPolicy"):
        chosen = set(policy["spec"]["podSelector"].get("matchLabels", {}).items())
        assert [pod for pod in pods() if chosen <= labels(pod)], name_of(policy)


def test_nothing_is_allowed_that_is_not_named() -> None:
    policy = only("NetworkPolicy", "default-deny")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_keda_scales_the_workers_by_their_queue_and_by_a_metric_that_exists() -> None:
    scaled = only("ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == only("Deployment", "worker")["metadata"]["name"]
    assert "replicas" not in only("Deployment", "worker")["spec"]
    (worker,) = find_workers([str(FOLDER / "base" / "attendance.py")])
    depth, age = (trigger["metadata"] for trigger in scaled["triggers"])
    assert depth["queueName"] == queue_of(worker.queue)
    metric = re.search(r'\((hookline_\w+)\{queue="(\w+)"\}\)', age["query"])
    assert metric is not None
    assert metric[1] in METRICS
    assert metric[2] == worker.queue


def test_the_sample_worker_is_that_of_compose() -> None:
    ours, composed = (FOLDER / "base" / "attendance.py", ROOT / "deploy" / "sample_worker.py")
    assert ours.read_text().partition('"""\n\n')[2] == composed.read_text().partition('"""\n\n')[2]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("page", ["healthz", "readyz"])
def test_the_probe_of_a_worker_asks_with_the_token(project: Project, page: str) -> None:
    set_token(project, OLD)
    worker = project.start("worker", "counter.py")
    worker.wait_for("metrics and health on ")
    port = re.search(r"metrics and health on http://127.0.0.1:(\d+)", "".join(worker.output))
    assert port is not None
    (container,) = containers(only("Deployment", "worker"))
    probe = container["livenessProbe" if page == "healthz" else "readinessProbe"]["exec"]["command"]
    assert probe[0] == "python"
    assert probe[-1] == page
    token = str(project.folder / "token")
    program = probe[2].replace("/run/secrets/admin_token", token).replace(":9464/", f":{port[1]}/")
    command = [sys.executable, "-c", program, page]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603  our own program
    set_token(project, NEW)  # which the worker has not read
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0  # noqa: S603  see above


@pytest.fixture
def operator(request: pytest.FixtureRequest) -> Iterator[tuple[Node, str]]:
    """A node, and the URL of the operator's user in a virtual host of its own."""
    node, vhost = own_node(request.config), queue_name()
    for words in commands(vhost, f"{vhost}-"):
        if words[1] == "add_user":
            words.append("password")
        node.control(*words[1:])
    yield node, f"amqp://{vhost}-operator:password@127.0.0.1:{node.port}/{vhost}"
    node.control("delete_vhost", vhost)
    for role in ("ingress", "worker", "operator"):
        node.control("delete_user", f"{vhost}-{role}")


async def test_the_operators_user_may_ask_for_the_depth_as_keda_does(operator: tuple[Node, str]) -> None:
    """KEDA declares the queue passively, and reads the number of ready messages from the answer."""
    _, url = operator
    worker = await aiormq.connect(url.replace("-operator:", "-worker:"))
    channel = await worker.channel()
    await channel.queue_declare("hookline.attendance", durable=True, arguments={"x-queue-type": "quorum"})
    await worker.close()
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    declared = await channel.queue_declare("hookline.attendance", passive=True)
    assert declared.message_count == 0
    await connection.close()
