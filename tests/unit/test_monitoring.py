"""The alerts and the dashboard: they fire when they should, and ask for nothing that the code does not export."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import forebay.gateway.metrics
import forebay.workers.metrics
from forebay.operations.findings import runbook

__all__ = ["forebay"]  # imported for what they export

FOLDER = Path(__file__).parents[2] / "k8s" / "monitoring"
TESTS = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SCRAPED = {"job", "instance", "pod", "namespace", "le"}
"""Labels that no metric of ours declares: Prometheus and the PodMonitor add them."""


def queries() -> Iterator[tuple[str, str]]:
    """(where, query) of all alerts and panels."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def code_of(alert: str) -> str:
    """ForebayBreakerOpen is breaker-open."""
    return re.sub(r"(?<!^)([A-Z])", r"-\1", alert.removeprefix("Forebay")).lower()


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is missing: it comes with Debian's package prometheus")
    return found


def checked(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.takes(1)
def test_each_alert_fires_in_its_scenario_and_is_silent_otherwise(promtool: str, tmp_path: Path) -> None:
    spec = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(spec))
    shutil.copy(FOLDER / "alerts_test.yaml", tmp_path)
    assert f"{len(RULES)} rules found" in checked(promtool, "check", "rules", "alerts.yaml", cwd=tmp_path)
    checked(promtool, "test", "rules", "alerts_test.yaml", cwd=tmp_path)


@pytest.mark.takes(1)
def test_a_wrong_threshold_fails_those_tests(promtool: str, tmp_path: Path) -> None:
    """Or they would prove nothing."""
    spec = (FOLDER / "alerts.yaml").read_text().replace("> 0.01", "> 0.1")
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(yaml.safe_load(spec)["spec"]))
    shutil.copy(FOLDER / "alerts_test.yaml", tmp_path)
    with pytest.raises(AssertionError, match="ForebayTurnsLate"):
        checked(promtool, "test", "rules", "alerts_test.yaml", cwd=tmp_path)


def test_the_queries_of_the_dashboard_are_promql(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{place}", "expr": query} for place, (_, query) in enumerate(queries())]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    checked(promtool, "check", "rules", "queries.yaml", cwd=tmp_path)


@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    of = [test for scenario in TESTS for test in scenario["alert_rule_test"] if test["alertname"] == alert]
    assert any(test.get("exp_alerts") for test in of), "it fires in no test"
    assert any(not test.get("exp_alerts") for test in of), "it is silent in no test"
    silent_when_healthy = {test["alertname"] for test in TESTS[0]["alert_rule_test"]}
    assert alert in silent_when_healthy


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_how_bad_what_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == runbook(code_of(rule["alert"]))
    assert "{{ $value" in notes["description"] or "$labels" in notes["description"] or "absent(" in rule["expr"]


def test_every_metric_and_label_in_a_query_is_exported() -> None:
    exported: dict[str, Any] = REGISTRY._names_to_collectors
    labels = {label for collector in exported.values() for label in getattr(collector, "_labelnames", ())}
    assert "forebay_turns_total" in exported
    for where, query in queries():
        words = set(re.findall(r"\b(?:forebay|gen_ai|messaging)_\w+", query))
        metrics = words & set(exported)
        assert metrics, where
        assert words - metrics <= labels, f"{where} asks for what is not exported"
        of_these = SCRAPED.union(*(getattr(exported[name], "_labelnames", ()) for name in metrics))
        matched = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', query))
        grouped = {
            name
            for group in re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", query)
            for name in re.split(r",\s*", group)
        }
        assert matched | grouped <= of_these, where


def test_a_histogram_is_asked_by_its_buckets_and_a_counter_by_its_rate() -> None:
    for where, query in queries():
        for total in re.findall(r"(?<!_over_time\()(?<!rate\()(?<!increase\()\b\w+_total\b", query):
            assert "unless" in query, f"{where}: {total} only grows"
        assert not re.search(r"histogram_quantile\((?!.*_bucket)", query), where


def test_the_panels_fit_the_screen_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [(panel["title"], *(panel["gridPos"][side] for side in "xywh")) for panel in PANELS]
    assert all(x >= 0 and x + width <= 24 for _, x, _, width, _ in places)
    for (one, x, y, w, h), (other, x2, y2, w2, h2) in combinations(places, 2):
        apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
        assert apart, f"{one} overlaps {other}"
    assert all(panel["datasource"]["uid"] == "${datasource}" and panel["title"] for panel in PANELS)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_the_component_brings_the_rules_and_the_dashboard_as_grafanas_sidecar_looks_for_it() -> None:
    component = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    assert component["resources"] == ["alerts.yaml", "runbook.yaml"]
    (generated,) = component["configMapGenerator"]
    assert generated["options"]["labels"] == {"grafana_dashboard": "1"}
    assert [file.partition("=")[2] for file in generated["files"]] == ["dashboard.json"]
