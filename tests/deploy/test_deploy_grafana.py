"""deploy/grafana: a dashboard that Grafana can import, and that asks for what the service shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import promql
import pytest
import yaml
from promql import ADDED_BY_PROMETHEUS, Shown, selectors, untrue

DASHBOARD = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [
    pytest.param(target, id=f"{panel['title']}-{target['refId']}") for panel in PANELS for target in panel["targets"]
]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
OF_GRAFANA = {"__rate_interval"}
NOT_ON_IT = {"process_virtual_memory_bytes"}
"""Says nothing: most of it is address space that is never used."""


@pytest.fixture(scope="module")
def shown() -> Shown:
    return promql.shown(promql.app())


@pytest.mark.parametrize("target", TARGETS)
def test_panels_ask_for_what_the_service_shows(target: dict[str, Any], shown: Shown) -> None:
    assert selectors(target["expr"])
    assert untrue(target["expr"], shown) == []
    for name, matchers in selectors(target["expr"]):
        assert {"job", "instance"} <= {label for label, _, _ in matchers}, f"{name} is not that of the chosen instances"


@pytest.mark.parametrize("target", TARGETS)
def test_legends_name_labels_that_are_left(target: dict[str, Any]) -> None:
    (*_, inside) = re.findall(r"\bby \(([^)]*)\)", target["expr"]) or [""]
    assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == (
        set() if target.get("format") == "table" else set(re.findall(r"\w+", inside)) - {"le"}
    )


def test_prometheus_accepts_what_panels_ask_for(tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or pytest.skip("promtool is not installed; Debian has it in prometheus")
    expressions = [re.sub(r"\$\w+", "1m", target["expr"]) for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_on_it(shown: Shown) -> None:
    asked = {name for panel in PANELS for target in panel["targets"] for name, _ in selectors(target["expr"])}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in asked}
    assert {re.sub("_(bucket|count|sum|created)$", "", name) for name in shown} - families == NOT_ON_IT


def test_variables_are_there_and_ask_for_what_the_service_shows(shown: Shown) -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) - OF_GRAFANA
    assert used == set(VARIABLES)
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            (label,) = re.findall(r"^label_values\(.+, (\w+)\)$", variable["query"])
            ((metric, _),) = selectors(variable["query"])
            assert untrue(variable["query"], shown) == []
            assert label == name
            assert label in ADDED_BY_PROMETHEUS | set(shown[metric])


def test_panels_say_what_they_show_and_lie_side_by_side() -> None:
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
