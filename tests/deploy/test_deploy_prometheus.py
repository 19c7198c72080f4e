"""deploy/prometheus: true of what the service shows and, where Debian's Prometheus is installed, run by it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import promql
import pytest
import yaml
from fastapi import FastAPI
from promql import ADDED_BY_PROMETHEUS, OF_PROMETHEUS, Shown, selectors, untrue
from service import START_S, Service, ending, free_port, running

from app import keys

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"

RULES = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
TESTS = yaml.safe_load((FOLDER / "tests.yml").read_text())["tests"]
SERIES = sorted({each["series"] for test in TESTS for each in test["input_series"]})


def needed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed; Debian has it in the package prometheus")
    return path


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return promql.app()


@pytest.fixture(scope="module")
def shown(app: FastAPI) -> Shown:
    return promql.shown(app)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rules_ask_for_what_the_service_shows(rule: dict[str, Any], shown: Shown) -> None:
    assert selectors(rule["expr"])
    assert untrue(rule["expr"], shown) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(rate(service_request_total[5m])) > 0", "the metric service_request_total"),
        ('service_answers_total{kind="wrong"} > 0', "the label kind of service_answers_total"),
        ('service_answers_total{is="false"} > 0', "is=false of service_answers_total"),
        ("sum by (job, host) (service_queue_depth)", "the label host"),
    ],
)
def test_what_is_not_shown_is_noticed(expression: str, fault: str, shown: Shown) -> None:
    assert untrue(expression, shown) == [fault]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rules_say_whom_to_call_and_what_is_wrong(rule: dict[str, Any], shown: Shown) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description"}
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert named <= ADDED_BY_PROMETHEUS.union(*(shown[name] for name, _ in selectors(rule["expr"]) if name in shown))


def test_routes_that_rules_name_exist(app: FastAPI) -> None:
    paths = set(app.openapi()["paths"])
    demands = [
        (operator, value)
        for rule in RULES
        for _, matchers in selectors(rule["expr"])
        for label, operator, value in matchers
        if label == "route"
    ]
    assert demands
    for operator, value in demands:
        assert operator in ("=~", "!~")
        for alternative in value.split("|") if "(" not in value else [value]:
            assert any(re.fullmatch(alternative, path) for path in paths), value


def test_every_rule_is_tested() -> None:
    text = (FOLDER / "tests.yml").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in RULES if not re.search(rf"\b{rule['alert']}\b", text)] == []


@pytest.mark.parametrize("series", SERIES)
def test_series_of_the_rules_tests_are_such_as_the_service_shows(series: str, shown: Shown) -> None:
    ((name, matchers),) = selectors(series)
    assert name in shown or name in OF_PROMETHEUS
    given = {label for label, _, _ in matchers} - ADDED_BY_PROMETHEUS
    assert given <= set(shown.get(name, ()))


# With Debian's Prometheus


@pytest.mark.parametrize(
    "command", [("check", "rules", "rules.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "tests.yml")]
)
def test_promtool_accepts(command: tuple[str, ...]) -> None:
    """The last command runs the rules against the series of tests.yml."""
    arguments = [needed("promtool"), *command]
    result = subprocess.run(arguments, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, port: int):
        self._root = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **query: str) -> Any:
        answer = httpx.get(f"{self._root}/{path}", params=query, timeout=10, trust_env=False)
        return answer.raise_for_status().json()["data"]

    def await_value(self, expression: str) -> float:
        """The value of an expression, once it has one."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if result := self.get("query", query=expression)["result"]:
                    return float(result[0]["value"][1])
            time.sleep(0.1)  # it cannot tell by itself
        raise AssertionError(f"{expression} has no value; targets are {self.get('targets')}")


@contextmanager
def scraping(service: Service, key_file: Path, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus with the configuration that ships, but for where the service is and how often to look."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "rules.yml")]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
    job["authorization"] = {"credentials_file": str(key_file)}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    command = [
        needed("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        with ending(process, 20):
            yield Prometheus(port)


def test_prometheus_scrapes_the_service(tmp_path: Path) -> None:
    needed("prometheus")
    key = keys.fresh_key()
    (tmp_path / "keys").write_text(keys.line("prometheus", key))
    (tmp_path / "key").write_text(key)
    with running(workers=2, api_keys_file=tmp_path / "keys") as service:
        service.await_workers(2)
        assert service.request("POST", "/add", {"expression": "10+6"})[0] == 401
        status, answer = service.request("POST", "/add", {"expression": "10+6"}, headers={"X-API-Key": key})
        assert (status, json.loads(answer)["sum"]) == (200, 16)
        with scraping(service, tmp_path / "key", tmp_path) as prometheus:
            assert prometheus.await_value('up{job="sequences-to-service"} == 1') == 1
            assert prometheus.await_value('service_requests_total{route="/add",status="200"}') == 1
            assert prometheus.await_value('service_requests_total{route="/add",status="401"}') == 1
            assert prometheus.await_value('service_answers_total{model="addition",is="exact"} > 0') == 1
            assert prometheus.await_value("service_ready_workers == 2") == 2
            assert prometheus.await_value('count(ALERTS{alertstate="firing"}) or vector(0)') == 0, prometheus.get(
                "alerts"
            )
            types = {each["metric"]: each["type"] for each in prometheus.get("targets/metadata")}
            assert types["service_requests_total"] == "counter"
            assert types["service_request_seconds"] == "histogram"
            assert types["service_queue_depth"] == "gauge"
            rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
            assert {rule["name"] for rule in rules} == {rule["alert"] for rule in RULES}
            assert {rule["lastError"] for rule in rules if "lastError" in rule} == set()
