"""The manifests agree with the code: settings, ports, topics, metrics, and one plan for all values that depend on each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import forebay.gateway.metrics
import forebay.workers.metrics
from forebay.gateway import GatewaySettings
from forebay.producers import TopicSettings
from forebay.rehearsal.servers.kafka_jars import KAFKA_VERSION
from forebay.schemas import Cluster, Topics
from forebay.schemas.environment import Environment
from forebay.workers.deliver_settings import DeliverSettings
from forebay.workers.settings import WorkerSettings

from .manifests import K8S, OVERLAYS, ROOT, compose, container, manifests, plan, replacements

SETTINGS: dict[str, tuple[type[Environment], ...]] = {
    "worker": (Cluster, WorkerSettings),
    "gateway": (Cluster, GatewaySettings),
    "deliver": (Cluster, DeliverSettings),
    "topics": (Cluster, TopicSettings),
}
PROVIDERS = {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"}
KEYS = {
    *("partitions", "concurrency", "lag_threshold", "min_replicas", "max_replicas", "fallback_replicas"),
    *("pre_scale_replicas", "pre_scale_start", "pre_scale_end", "timezone", "drain_s", "grace_s", "turn_ttl_s"),
    *("oldest_waiting_s", "gateway_replicas"),
}
OURS = "forebay"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def unknown(process: str, names: set[str]) -> set[str]:
    """Names of variables that the process does not read."""
    read = {f"FOREBAY_{field.upper()}" for settings in SETTINGS[process] for field in settings.model_fields}
    return names - read - PROVIDERS


@pytest.mark.parametrize("process", ["worker", "gateway", "deliver"])
def test_the_environment_is_read(process: str) -> None:
    for file in K8S.rglob("*.yaml"):
        for manifest in yaml.safe_load_all(file.read_text()):
            if (
                isinstance(manifest, dict)
                and manifest.get("kind") == "Deployment"
                and manifest["metadata"]["name"] == process
            ):
                (given,) = manifest["spec"]["template"]["spec"]["containers"]
                assert not unknown(process, {variable["name"] for variable in given["env"]}), file


@pytest.mark.parametrize("process", ["worker", "gateway", "deliver"])
def test_the_environment_is_accepted(process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for variable in container(process)["env"]:
        value = variable.get("value", "a=secret")
        monkeypatch.setenv(variable["name"], str(file) if value.startswith("/etc/") else value)
    for settings in SETTINGS[process]:
        settings.read()


@pytest.mark.parametrize("service", ["worker", "gateway", "topics"])
def test_the_environment_of_the_composition_is_read(service: str) -> None:
    assert not unknown(service, set(compose()["services"][service]["environment"]))


def test_one_image() -> None:
    text = "".join(file.read_text() for file in [*K8S.rglob("*.yaml"), ROOT / "compose.yaml"])
    assert set(re.findall(rf"{OURS}:(\S+)", text)) == {VERSION}
    images = set(re.findall(r"image: (\S+)", text))
    assert images == {f"{OURS}:{VERSION}", "redis:8.2-alpine", f"apache/kafka:{KAFKA_VERSION}"}


@pytest.mark.parametrize(
    ("process", "settings"), [("worker", WorkerSettings), ("gateway", GatewaySettings), ("deliver", DeliverSettings)]
)
def test_probes_ask_the_health_port(process: str, settings: type[Environment]) -> None:
    asked = container(process)
    ports = {port["name"]: port["containerPort"] for port in asked["ports"]}
    assert ports["health"] == settings.model_fields["health_port"].default
    probes = {kind: asked[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {"health"}
    (endpoint,) = manifests("PodMonitor")["forebay"]["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("health", "/metrics")


def test_the_gateway_listens_where_the_service_sends() -> None:
    ports = {port["name"]: port["containerPort"] for port in container("gateway")["ports"]}
    assert ports["http"] == GatewaySettings.model_fields["gateway_port"].default
    assert manifests("Service")["gateway"]["spec"]["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("name", ["worker", "gateway", "deliver", "redis", "model-api"])
def test_pods_are_restricted(name: str) -> None:
    pod = manifests("Deployment")[name]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 10_000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (only,) = pod["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_nothing_secret_is_written_down() -> None:
    secrets = re.compile("KEY|PASSWORD|STORE|LIMITS")
    for process in ("worker", "gateway", "deliver"):
        for variable in container(process)["env"]:
            if secrets.search(variable["name"]) and variable["name"] != "FOREBAY_GATEWAY_KEYS":
                assert (
                    "valueFrom" in variable
                    or variable["value"] == "$(FOREBAY_STORE)"
                    or variable["name"].endswith("WORKERS")
                )
    assert not manifests("Secret")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_plan_is_consistent(overlay: str) -> None:
    values = plan(overlay)
    assert values.keys() == KEYS
    number = {name: int(value) for name, value in values.items() if value.isdecimal()}
    assert number["lag_threshold"] == round(number["concurrency"] * 0.8)
    assert number["min_replicas"] <= number["pre_scale_replicas"] <= number["max_replicas"] <= number["partitions"]
    assert number["min_replicas"] <= number["fallback_replicas"] <= number["max_replicas"]
    assert number["grace_s"] >= number["drain_s"] + 10
    assert 0 < number["oldest_waiting_s"] < number["turn_ttl_s"]
    assert 1 <= number["gateway_replicas"] <= manifests("HorizontalPodAutoscaler")["gateway"]["spec"]["maxReplicas"]
    assert len(values["pre_scale_start"].split()) == len(values["pre_scale_end"].split()) == 5


def test_the_sale_is_on_the_same_partitions() -> None:
    """They are never changed: order is kept by partition."""
    assert plan("sale-day")["partitions"] == plan("production")["partitions"]


def test_every_value_of_the_plan_is_used_and_none_is_made_up() -> None:
    sources = [replacement["source"] for replacement in replacements()]
    used = [source["fieldPath"].removeprefix("data.") for source in sources if source["name"] == "forebay-plan"]
    assert sorted(used) == sorted(KEYS)


def test_the_address_of_the_runbook_is_a_setting_of_its_own() -> None:
    """kustomize writes it before the section of each alert, which stands behind the #."""
    (rule,) = (rule for rule in replacements() if rule["source"]["name"] == "forebay-runbook")
    assert rule["source"]["fieldPath"] == "data.url"
    (target,) = rule["targets"]
    assert target["options"] == {"delimiter": "#", "index": 0}
    address = manifests("ConfigMap")["forebay-runbook"]["data"]["url"]
    alerts = manifests("PrometheusRule")["forebay"]["spec"]["groups"]
    urls = [alert["annotations"]["runbook_url"] for group in alerts for alert in group["rules"]]
    assert {url.partition("#")[0] for url in urls} == {address}


def test_topics_are_those_of_the_code() -> None:
    written = manifests("KafkaTopic")
    specs = {spec.name: spec for spec in Topics().specs()}
    assert written.keys() == specs.keys()
    for name, spec in specs.items():
        topic = written[name]["spec"]
        assert {key: str(value) for key, value in topic["config"].items()} == dict(spec.settings), name
        if spec.partitions is not None:
            assert topic["partitions"] == spec.partitions, name
    fixed = {name for name, spec in specs.items() if spec.partitions is not None}
    (rule,) = (rule for rule in replacements() if rule["source"]["fieldPath"] == "data.partitions")
    assert {rejected["name"] for rejected in rule["targets"][0]["reject"]} == fixed


def triggers() -> dict[str, Any]:
    return {trigger["type"]: trigger for trigger in manifests("ScaledObject")["worker"]["spec"]["triggers"]}


def test_the_scaler_looks_at_what_the_workers_do() -> None:
    kafka = triggers()["kafka"]["metadata"]
    assert kafka["topic"] == Topics().requests
    assert kafka["consumerGroup"] == WorkerSettings.model_fields["group"].default
    assert kafka["excludePersistentLag"] == "false"
    assert tuple(map(int, kafka["version"].split("."))) >= (4, 0, 0), (
        "the default speaks protocols that Kafka 4 dropped"
    )
    users = manifests("KafkaUser")
    assert manifests("ConfigMap", K8S / "scaling")["scaler"]["data"]["username"] in users


def test_the_scaler_asks_for_a_metric_that_exists() -> None:
    assert forebay.workers.metrics
    assert forebay.gateway.metrics
    exported = {metric.name for metric in REGISTRY.collect()}
    asked = re.findall(r"forebay_\w+", triggers()["prometheus"]["metadata"]["query"])
    assert asked
    assert set(asked) <= exported


def test_each_process_has_a_user_of_its_own() -> None:
    users = manifests("KafkaUser")
    for process in ("worker", "gateway", "deliver"):
        values = {variable["name"]: variable for variable in container(process)["env"]}
        name = values["FOREBAY_KAFKA_SASL_USERNAME"]["value"]
        assert name == f"forebay-{process}"
        assert name in users
        assert values["FOREBAY_KAFKA_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": name, "key": "password"}


def test_secrets_are_made_by_strimzi_or_by_the_documented_line() -> None:
    documented = set(re.findall(r"kubectl .*create secret generic (\S+)", (ROOT / "docs/kubernetes.md").read_text()))
    strimzi = {"forebay-cluster-ca-cert", *manifests("KafkaUser")}
    named = set()
    for process in ("worker", "gateway", "deliver"):
        pod = manifests("Deployment")[process]["spec"]["template"]["spec"]
        named |= {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        sources = [variable.get("valueFrom", {}) for variable in container(process)["env"]]
        named |= {source["secretKeyRef"]["name"] for source in sources if "secretKeyRef" in source}
    assert named - strimzi == documented
