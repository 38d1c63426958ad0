"""The compose file and the Kubernetes manifests, against their specifications and each other.

No engine and no cluster is needed: typed models hold the fields that are used, and refuse others.
They are written here after the specifications; the published schemas are in no package of the lock.
"""
# ruff: noqa: N815 (the fields' names are Kubernetes's own)

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import typer.main
import yaml
from pydantic import BaseModel, ConfigDict, Field

from monge.cli import app
from pipelines.stack import store
from tests.contracts.test_dockerfile import STAGES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("one-gpu", "many-gpus")
SECRET_KEYS = {"database", "store-key", "store-secret", "token"}
"""The keys of the secret `monge` that docs/how-to/cluster.md has made."""

FOREIGN_IMAGES = {"postgres:17-bookworm", "prefecthq/prefect:3.8.8-python3.12-kubernetes"}


class Strict(BaseModel):
    """A part of a schema: a field that is not named here is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


# Compose: https://github.com/compose-spec/compose-spec/blob/main/spec.md
class Build(Strict):
    context: str
    target: str


class Healthcheck(Strict):
    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=r"^\d+s$")
    timeout: str = Field(pattern=r"^\d+s$")
    retries: int
    start_period: str = Field(pattern=r"^\d+s$")


class Condition(Strict):
    condition: Literal["service_healthy", "service_started", "service_completed_successfully"]


class ComposeService(Strict):
    image: str
    build: Build | None = None
    restart: Literal["unless-stopped"]
    entrypoint: list[str] = []
    command: list[str] = []
    environment: dict[str, str] = {}
    secrets: list[str] = []
    volumes: list[str] = []
    tmpfs: list[str] = []
    ports: list[str] = []
    depends_on: dict[str, Condition] = {}
    healthcheck: Healthcheck
    stop_grace_period: str = Field(pattern=r"^\d+s$")
    stop_signal: str | None = None
    hostname: str | None = None
    user: str | None = None


class Compose(Strict):
    name: str
    services: dict[str, ComposeService]
    secrets: dict[str, dict[Literal["file"], str]]
    volumes: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def compose() -> Compose:
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return Compose.model_validate({k: v for k, v in found.items() if not k.startswith("x-")})


def test_what_a_compose_service_names_is_there(compose):
    used: dict[str, set[str]] = {"secrets": set(), "volumes": set()}
    for name, service in compose.services.items():
        used["secrets"] |= set(service.secrets)
        assert set(service.depends_on) <= compose.services.keys(), name
        for volume in service.volumes:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), volume
            else:
                used["volumes"].add(source)
        for secret in re.findall(
            r"/run/secrets/(\w+)", str([service.command, service.environment])
        ):
            assert secret in service.secrets, (name, secret)
        if service.build:
            assert (DEPLOY / service.build.context / "Dockerfile").exists()
            assert service.build.target in STAGES
            assert service.image == f"monge:{service.build.target}"
        else:
            assert service.image in FOREIGN_IMAGES
    assert used["secrets"] == compose.secrets.keys()
    assert used["volumes"] == compose.volumes.keys()


def test_compose_services_reach_each_other_at_the_ports_they_listen_at(compose):
    text = json.dumps({n: s.model_dump() for n, s in compose.services.items()})
    listens = {"postgres": "5432", "store": "8333", "mlflow": "5000", "prefect": "4200"}
    for host, port in re.findall(r"(?:@|//)(postgres|store|mlflow|prefect):(\d+)", text):
        assert listens[host] == port
    for name, service in compose.services.items():
        for published in service.ports:
            address, outside, inside = published.rsplit(":", 2)
            assert (address, outside) == ("127.0.0.1", inside), name
            assert f"--port {inside}" in service.command[0], name
            assert f"127.0.0.1:{inside}/" in " ".join(service.healthcheck.test), name


def test_the_page_starts_services_that_there_are(compose):
    page = (ROOT / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")
    lines = re.findall(r"docker compose -f (\S+) up (.+)", page)
    started = [word for _, words in lines for word in words.split() if not word.startswith("-")]
    assert {ROOT / path for path, _ in lines} == {DEPLOY / "compose.yaml"}
    assert sorted(started) == sorted(compose.services)


# Kubernetes: https://kubernetes.io/docs/reference/kubernetes-api/
class Meta(Strict):
    name: str | None = None
    namespace: str | None = None
    generateName: str | None = None
    labels: dict[str, str] | str = {}


class Labels(Strict):
    matchLabels: dict[str, str] = {}


class Named(Strict):
    name: str


class KeyRef(Strict):
    name: str
    key: str


class FieldRef(Strict):
    fieldPath: Literal["status.podIP"]


class ValueFrom(Strict):
    secretKeyRef: KeyRef | None = None
    fieldRef: FieldRef | None = None


class Variable(Strict):
    name: str
    value: str | None = None
    valueFrom: ValueFrom | None = None


class EnvFrom(Strict):
    configMapRef: Named


class Port(Strict):
    name: str
    containerPort: int


class HttpGet(Strict):
    path: str
    port: str


class Exec(Strict):
    command: list[str]


class Tcp(Strict):
    port: str


class Probe(Strict):
    httpGet: HttpGet | None = None
    exec: Exec | None = None
    tcpSocket: Tcp | None = None
    periodSeconds: int = 10
    timeoutSeconds: int = 1
    failureThreshold: int = 3


class Hook(Strict):
    exec: Exec


class Lifecycle(Strict):
    preStop: Hook


class Resources(Strict):
    requests: dict[Literal["cpu", "memory", "storage"], str]
    limits: dict[Literal["memory", "nvidia.com/gpu"], str] = {}


class ContainerSecurity(Strict):
    allowPrivilegeEscalation: Literal[False]


class PodSecurity(Strict):
    runAsNonRoot: Literal[True]
    runAsUser: int
    fsGroup: int | None = None


class Mount(Strict):
    name: str
    mountPath: str
    readOnly: bool = False


class Container(Strict):
    name: str
    image: str
    command: list[str] = []
    args: list[str] | str = []
    envFrom: list[EnvFrom] = []
    env: list[Variable] | str = []
    ports: list[Port] = []
    lifecycle: Lifecycle | None = None
    startupProbe: Probe | None = None
    readinessProbe: Probe | None = None
    livenessProbe: Probe | None = None
    resources: Resources
    securityContext: ContainerSecurity
    volumeMounts: list[Mount] = []


class Claim(Strict):
    claimName: str


class Memory(Strict):
    medium: Literal["Memory"]


class Volume(Strict):
    name: str
    configMap: Named | None = None
    persistentVolumeClaim: Claim | None = None
    emptyDir: Memory | None = None


class Pod(Strict):
    serviceAccountName: str | None = None
    automountServiceAccountToken: bool = True
    enableServiceLinks: bool = True
    restartPolicy: Literal["Always", "OnFailure", "Never"] = "Always"
    securityContext: PodSecurity
    terminationGracePeriodSeconds: int = 30
    containers: list[Container] = Field(min_length=1)
    volumes: list[Volume] = []


class Template(Strict):
    metadata: Meta
    spec: Pod


class RollingUpdate(Strict):
    maxUnavailable: int
    maxSurge: int


class Strategy(Strict):
    type: Literal["Recreate", "RollingUpdate"] = "RollingUpdate"
    rollingUpdate: RollingUpdate | None = None


class DeploymentSpec(Strict):
    replicas: int | None = None
    selector: Labels
    strategy: Strategy | None = None
    template: Template


class ClaimSpec(Strict):
    accessModes: list[Literal["ReadWriteOnce", "ReadWriteMany"]]
    resources: Resources


class ClaimTemplate(Strict):
    metadata: Meta
    spec: ClaimSpec


class StatefulSetSpec(Strict):
    serviceName: str
    replicas: int
    selector: Labels
    template: Template
    volumeClaimTemplates: list[ClaimTemplate]


class JobSpec(Strict):
    backoffLimit: int
    ttlSecondsAfterFinished: int | None = None
    template: Template


class ServicePort(Strict):
    name: str
    port: int
    targetPort: str


class ServiceSpec(Strict):
    selector: dict[str, str]
    ports: list[ServicePort]


class ScaleTarget(Strict):
    apiVersion: Literal["apps/v1"]
    kind: Literal["Deployment"]
    name: str


class Target(Strict):
    type: Literal["Utilization"]
    averageUtilization: int


class ResourceMetric(Strict):
    name: Literal["cpu"]
    target: Target


class Metric(Strict):
    type: Literal["Resource"]
    resource: ResourceMetric


class ScalerSpec(Strict):
    scaleTargetRef: ScaleTarget
    minReplicas: int
    maxReplicas: int
    metrics: list[Metric]


class BudgetSpec(Strict):
    minAvailable: int
    selector: Labels


class PolicyPort(Strict):
    protocol: Literal["TCP"]
    port: int


class Peer(Strict):
    podSelector: Labels


class Ingress(Strict):
    ports: list[PolicyPort] = []
    from_: list[Peer] = Field(default=[], alias="from")


class PolicySpec(Strict):
    podSelector: Labels
    policyTypes: list[Literal["Ingress"]]
    ingress: list[Ingress]


SPECS: dict[tuple[str, str], type[Strict] | None] = {
    ("v1", "Namespace"): None,
    ("v1", "ServiceAccount"): None,
    ("v1", "Service"): ServiceSpec,
    ("v1", "PersistentVolumeClaim"): ClaimSpec,
    ("apps/v1", "Deployment"): DeploymentSpec,
    ("apps/v1", "StatefulSet"): StatefulSetSpec,
    ("batch/v1", "Job"): JobSpec,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): ScalerSpec,
    ("policy/v1", "PodDisruptionBudget"): BudgetSpec,
    ("networking.k8s.io/v1", "NetworkPolicy"): PolicySpec,
}


class Rule(Strict):
    apiGroups: list[Literal["", "batch"]]
    resources: list[Literal["jobs", "pods", "pods/log", "pods/status", "events"]]
    verbs: list[Literal["get", "list", "watch", "create", "patch", "delete"]]


def built(folder: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """What `kubectl kustomize` makes of a folder, as far as ours use it: objects, config maps."""
    text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
    asked = yaml.safe_load(text)
    known = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "patches",
             "generatorOptions", "images"}  # fmt: skip
    assert asked.keys() <= known
    objects: list[dict[str, Any]] = []
    maps: dict[str, dict[str, str]] = {}
    for name in asked["resources"]:
        place = (folder / name).resolve()
        if place.is_dir():
            more, settings = built(place)
            objects += more
            maps |= settings
        else:
            objects += [one for one in yaml.safe_load_all(place.read_text("utf-8")) if one]
    for one in asked.get("configMapGenerator", []):
        values = {name: (folder / name).read_text("utf-8") for name in one.get("files", [])}
        for name in one.get("envs", []):
            pairs = (folder / name).read_text("utf-8").split()
            values |= dict(pair.split("=", 1) for pair in pairs)
        values |= dict(pair.split("=", 1) for pair in one.get("literals", []))
        assert (one["name"] in maps) == (one.get("behavior") == "merge")
        if one["name"] in maps:
            assert values.keys() <= maps[one["name"]].keys(), "a setting that nothing has"
        maps[one["name"]] = maps.get(one["name"], {}) | values
    for patch in asked.get("patches", []):
        aims = [o for o in objects if (o["kind"], o["metadata"]["name"])
                == (patch["target"]["kind"], patch["target"]["name"])]  # fmt: skip
        assert len(aims) == 1, patch
        for step in yaml.safe_load(patch["patch"]):
            apply(aims[0], step)
    return objects, maps


def apply(target: Any, step: dict[str, Any]) -> None:
    """Do one step of a JSON patch (RFC 6902) in place."""
    *way, last = [
        part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]
    ]
    for part in way:
        target = target[int(part) if isinstance(target, list) else part]
    key: Any = int(last) if isinstance(target, list) else last
    if step["op"] == "replace":
        assert key in target if isinstance(target, dict) else key < len(target), step
    else:
        assert step["op"] == "add"
    target[key] = step["value"]


class Cluster:
    """All objects of an overlay, with the ones that a run makes."""

    def __init__(self, overlay: str) -> None:
        found, self.maps = built(DEPLOY / "kubernetes" / "overlays" / overlay)
        self.objects = copy.deepcopy(found)
        template = json.loads(self.maps["job-template"]["base-job-template.json"])
        self.variables = template["variables"]["properties"]
        self.run = template["job_configuration"]["job_manifest"]

    def named(self, kind: str) -> dict[str, dict[str, Any]]:
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] == kind}

    def pods(self) -> dict[str, tuple[dict[str, Any], Pod]]:
        """Each pod with its labels, checked; that of a run, too."""
        makers = [o for o in [*self.objects, self.run] if "template" in o.get("spec", {})]
        return {
            o["metadata"].get("name", "run"): (
                o["spec"]["template"]["metadata"]["labels"],
                Pod.model_validate(o["spec"]["template"]["spec"]),
            )
            for o in makers
        }


@pytest.fixture(scope="module", params=OVERLAYS)
def cluster(request) -> Cluster:
    return Cluster(request.param)


def test_every_object_has_the_fields_of_its_kind_and_no_other(cluster):
    seen = set()
    for one in [*cluster.objects, cluster.run]:
        kind = (one["apiVersion"], one["kind"])
        Meta.model_validate(one["metadata"])
        name = one["metadata"].get("name", "run")
        assert (*kind, name) not in seen
        seen.add((*kind, name))
        if one["kind"] == "Role":
            for rule in one["rules"]:
                Rule.model_validate(rule)
        elif one["kind"] == "RoleBinding":
            assert one["roleRef"]["name"] in cluster.named("Role")
            assert one["subjects"][0]["name"] in cluster.named("ServiceAccount")
            assert one["subjects"][0]["namespace"] in cluster.named("Namespace")
        elif (spec := SPECS[kind]) is not None:
            spec.model_validate(one["spec"])
            assert one.keys() <= {"apiVersion", "kind", "metadata", "spec"}


def test_what_pods_name_is_there(cluster):
    claims = set(cluster.named("PersistentVolumeClaim"))
    for name, (_, pod) in cluster.pods().items():
        stateful = cluster.named("StatefulSet").get(name, {"spec": {}})["spec"]
        own = {c["metadata"]["name"] for c in stateful.get("volumeClaimTemplates", [])}
        volumes = {volume.name for volume in pod.volumes} | own
        for volume in pod.volumes:
            assert volume.configMap is None or volume.configMap.name in cluster.maps
            claim = volume.persistentVolumeClaim
            assert claim is None or claim.claimName in claims
        if pod.serviceAccountName:
            assert pod.serviceAccountName in cluster.named("ServiceAccount")
        for container in pod.containers:
            assert {mount.name for mount in container.volumeMounts} == volumes, name
            assert container.image in {"monge:train", "{{ image }}"} | FOREIGN_IMAGES
            assert all(each.configMapRef.name in cluster.maps for each in container.envFrom)
            ports = {port.name for port in container.ports}
            for probe in (
                container.startupProbe,
                container.readinessProbe,
                container.livenessProbe,
            ):
                asks = probe and (probe.httpGet or probe.tcpSocket)
                assert not asks or asks.port in ports, name
            for variable in container.env if isinstance(container.env, list) else []:
                secret = variable.valueFrom and variable.valueFrom.secretKeyRef
                assert not secret or (secret.name == "monge" and secret.key in SECRET_KEYS)


def test_every_variable_of_a_command_is_given(cluster):
    for name, (_, pod) in cluster.pods().items():
        container = pod.containers[0]
        text = " ".join(container.args) if isinstance(container.args, list) else ""
        given = {variable.name for variable in container.env if isinstance(variable, Variable)}
        for each in container.envFrom:
            given |= cluster.maps[each.configMapRef.name].keys()
        assert set(re.findall(r"\$([A-Z_]+)", text)) <= given, name


def test_selectors_find_pods_and_services_their_ports(cluster):
    pods = cluster.pods()

    def chosen(labels: dict[str, str]) -> list[Pod]:
        return [pod for has, pod in pods.values() if labels.items() <= has.items()]

    for name, one in cluster.named("Service").items():
        (pod,) = chosen(one["spec"]["selector"])
        ports = {port.name for port in pod.containers[0].ports}
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports, name
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        for name, one in cluster.named(kind).items():
            assert len(chosen(one["spec"]["selector"]["matchLabels"])) == 1, name
    for one in cluster.named("NetworkPolicy").values():
        (*some,) = chosen(one["spec"]["podSelector"].get("matchLabels", {}))
        numbers = {port.containerPort for pod in some for port in pod.containers[0].ports}
        for rule in one["spec"]["ingress"]:
            assert {port["port"] for port in rule.get("ports", [])} <= numbers
    scaler = cluster.named("HorizontalPodAutoscaler")["service"]["spec"]
    target = cluster.named("Deployment")[scaler["scaleTargetRef"]["name"]]["spec"]
    assert "replicas" not in target, "the autoscaler's to say"
    assert scaler["minReplicas"] <= scaler["maxReplicas"]
    budget = cluster.named("PodDisruptionBudget")["service"]["spec"]["minAvailable"]
    assert budget < scaler["minReplicas"], "or no node can ever be emptied"


def test_addresses_in_the_cluster_are_those_of_services(cluster):
    settings = cluster.maps["settings"]
    there = cluster.named("Service")
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "MLFLOW_S3_ENDPOINT_URL"):
        found = re.fullmatch(r"http://(\w+):(\d+)(/api)?", settings[name])
        if found:
            assert int(found[2]) in {p["port"] for p in there[found[1]]["spec"]["ports"]}
        else:
            assert settings[name].startswith("https://")
    assert settings["DATABASE_HOST"] in there or "." in settings["DATABASE_HOST"]
    assert int(settings["GPUS"]) * int(settings["TRAININGS"]) in (1, 8)


def test_the_service_has_time_to_answer_what_it_took(cluster):
    _, pod = cluster.pods()["service"]
    container = pod.containers[0]
    timeout = re.search(r"--timeout-s (\d+)", container.args[0])
    assert timeout
    assert container.lifecycle
    assert container.lifecycle.preStop.exec.command[0] == "sleep"
    pause_s = int(container.lifecycle.preStop.exec.command[1])
    assert pod.terminationGracePeriodSeconds >= pause_s + int(timeout[1]) + 15


def test_the_job_template_has_the_variables_that_it_uses(cluster):
    text = cluster.maps["job-template"]["base-job-template.json"]
    assert set(re.findall(r"\{\{ (\w+) \}\}", text)) == cluster.variables.keys()
    (pool,) = cluster.named("Job").values()
    command = pool["spec"]["template"]["spec"]["containers"][0]["args"][0]
    (placeholder,) = re.findall(r"s/(\w+)/\$GPUS/", command)
    assert cluster.variables["gpus"]["default"] == placeholder
    assert cluster.run["spec"]["backoffLimit"] == 0, "Prefect repeats runs, not Kubernetes"


def commands() -> list[str]:
    """Every command of the compose file and of the manifests, on one line each."""
    files = [DEPLOY / "compose.yaml", *sorted((DEPLOY / "kubernetes").rglob("*.yaml"))]
    text = " ".join(re.sub(r"\s+", " ", path.read_text("utf-8")) for path in files)
    programs = "monge serve|python -m pipelines deploy|mlflow server|weed -logtostderr=true server"
    end = r"(?:environment:|envFrom:|env:|secrets:|volumes:|&&|\"?'\})"
    return re.findall(rf"(?:{programs})\b.*?(?={end}|$)", text)


def test_options_in_commands_are_real():
    known = {
        "monge serve": {
            option
            for parameter in typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
            for option in parameter.opts
        },
        "python -m pipelines deploy": set(
            re.findall(r'"(--[\w-]+)"', (ROOT / "pipelines" / "deploy.py").read_text("utf-8"))
        ),
        "mlflow server": _options_of([sys.executable, "-m", "mlflow", "server", "--help"]),
        "weed": _options_of([store.program(), "server", "-h"]),
    }
    seen = set()
    for command in commands():
        program = next(name for name in known if command.startswith(name))
        seen.add(program)
        options = re.findall(r"(?<=\s)(--?[a-zA-Z][\w.-]*)", command.removeprefix(program))
        wrong = set(options) - known[program] - {"-logtostderr"}
        assert options, command
        assert not wrong, (program, wrong)
    assert seen == known.keys()


def _options_of(command: list[str]) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True)
    return set(re.findall(r"^\s+(?:-\w, )?(--?[a-zA-Z][\w.-]*)", done.stdout + done.stderr, re.M))
