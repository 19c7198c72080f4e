"""What expressions for Prometheus ask for, held against what the service shows."""

from __future__ import annotations

import asyncio
import re

import fakes
import httpx
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.settings import Settings

OF_PROMETHEUS = {"up": {"job": "sequences-to-service"}, "ALERTS": {}}
ADDED_BY_PROMETHEUS = {"job", "instance", "alertname", "alertstate", "severity"}
NAMES = re.compile(r"\b(service_\w+|process_\w+|up|ALERTS)\b(?!\s*:)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")

Shown = dict[str, dict[str, set[str]]]


def app() -> FastAPI:
    """A service whose queue is soon full."""
    return create_app(Settings(max_queue=2), fakes.models())


def shown(app: FastAPI) -> Shown:
    """Every label of every metric with its values, once requests were answered, turned away and too late."""

    async def play() -> str:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            body = {"expression": "1+1"}
            await asyncio.gather(*(client.post("/add", json=body) for _ in range(5)))
            tensor = {"name": "expression", "datatype": "BYTES", "shape": [1], "data": ["1+1"]}
            late = {"inputs": [tensor], "parameters": {"timeout": 1}}  # a microsecond
            assert (await client.post("/v2/models/addition/infer", json=late)).status_code == 504
            return (await client.get("/metrics")).text

    found: Shown = {}
    for family in text_string_to_metric_families(asyncio.run(play())):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def selectors(expression: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Every metric that an expression names, with what it demands of labels."""
    return [(name, MATCHER.findall(inside)) for name, inside in NAMES.findall(expression)]


def untrue(expression: str, shown: Shown) -> list[str]:
    """What an expression asks for that the service does not show."""
    found = selectors(expression)
    known = ADDED_BY_PROMETHEUS.union(*(shown[name] for name, _ in found if name in shown))
    faults = [label for inside in GROUPING.findall(expression) for label in re.findall(r"\w+", inside)]
    faults = [f"the label {label}" for label in faults if label not in known]
    for name, matchers in found:
        if name not in shown and name not in OF_PROMETHEUS:
            faults.append(f"the metric {name}")
            continue
        labels = shown.get(name, {})
        for label, operator, value in matchers:
            if label in ADDED_BY_PROMETHEUS:
                continue
            if label not in labels:
                faults.append(f"the label {label} of {name}")
            elif operator == "=" and value not in labels[label]:
                faults.append(f"{label}={value} of {name}")
    return faults
