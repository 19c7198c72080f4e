"""The page at `/` in a real browser: how many bytes it takes, and how soon an answer is on screen once typing stops.

Time runs from the last change of the text until the browser has drawn the frame after the answer appeared. Texts are
the golden examples of each bundle. What explains an answer is timed beside it, over HTTP alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine, server, stats, workload
from benchmarks.contenders import CONTENDERS, Setup
from benchmarks.environments import CannotPrepare
from benchmarks.stats import Spread

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MOST_BYTES, MOST_MS = 150_000, 100
SHOWN, EXPLAINED = "answer on screen, ms", "explained over HTTP, ms"
RECEIVED = ("responseHeadersSize", "responseBodySize")
TYPE = """
([text]) => new Promise((resolve) => {
  const field = document.querySelector("#value"), answer = () => document.querySelector(".written .value");
  const before = answer();
  const began = performance.now();
  const watch = new MutationObserver(() => {
    if (!answer() || answer() === before) return;
    watch.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
  });
  watch.observe(document.body, { childList: true, subtree: true });
  field.value = text;
  field.dispatchEvent(new InputEvent("input", { bubbles: true }));
})
"""
"""Types a text at once; the time until its answer has been drawn, in milliseconds."""


def run(models_dir: Path, *, rounds: int) -> dict[str, Any]:
    """All figures as plain data. Raises `CannotPrepare` without a browser, and `ServerFailed`."""
    asked = workload.questions(models_dir, "add", 1)
    cores = machine.cores()[:2]
    rows: list[dict[str, Any]] = []
    with (
        server.running(CONTENDERS["ours"], Setup(server.free_port(), 1, "add", models_dir), cores, asked[0]) as running,
        _page() as page,
    ):
        address = f"http://127.0.0.1:{running.setup.port}"
        sizes: list[int] = []
        page.on("requestfinished", lambda request: sizes.append(sum(request.sizes()[each] for each in RECEIVED)))
        page.goto(f"{address}/")
        page.wait_for_selector(".written .value")
        page_bytes = sum(sizes)
        for model in page.evaluate("async () => (await (await fetch('models?brief=true')).json()).models"):
            values = _values(models_dir, model["name"], model["versions"][-1])
            page.goto(f"{address}/#model={model['name']}")
            page.wait_for_selector(".written .value")
            shown = [page.evaluate(TYPE, [_text(value)]) for _ in range(rounds) for value in values]
            name = model["interface"]["input"]["name"]
            path = f"/models/{model['name']}/explain"
            explained = [_ms(running.setup.port, path, {name: value}) for _ in range(rounds) for value in values]
            for figure, found in ((SHOWN, shown), (EXPLAINED, explained)):
                rows.append({"model": model["name"], "figure": figure, **Spread.of(found).as_data()})
                sys.stderr.write(f"  {model['name']:20} {figure:22} {rows[-1]['median']:8.1f}\n")
    slowest = max(row["median"] for row in rows if row["figure"] == SHOWN)
    spreads = stats.spreads({"page_bytes": [page_bytes], "slowest_answer_on_screen_ms": [slowest]})
    return {
        "benchmark": "playground",
        "machine": machine.describe(),
        "settings": {"rounds": rounds},
        "rows": rows,
        **spreads,
        "targets": {
            "page_bytes": {"target": f"at most {MOST_BYTES:,}", "met": page_bytes <= MOST_BYTES},
            "slowest_answer_on_screen_ms": {"target": f"at most {MOST_MS}", "met": slowest <= MOST_MS},
        },
    }


@contextlib.contextmanager
def _page() -> Iterator[Any]:
    """A page of a real browser. Raises `CannotPrepare`."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise CannotPrepare(f"no browser is installed: none of {', '.join(BROWSERS)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        started = playwright.chromium.launch(executable_path=browser, args=options)
        yield started.new_page(viewport={"width": 1440, "height": 900})
        started.close()


def _values(models_dir: Path, name: str, version: str) -> list[Any]:
    manifest = json.loads((models_dir / name / version / "manifest.json").read_text(encoding="utf-8"))
    return [each["request"] for each in manifest["golden"]]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _ms(port: int, path: str, body: Mapping[str, Any]) -> float:
    """How long a request takes. Raises `ServerFailed`."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.connect()
        began = time.perf_counter()
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        took = time.perf_counter() - began
    if response.status != 200:
        raise server.ServerFailed(f"{path} answered with status {response.status}: {content[:200]!r}")
    return took * 1e3


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {
            name: row[each]
            for name, each in (
                ("model", "model"),
                ("figure", "figure"),
                ("median", "median"),
                ("least", "min"),
                ("most", "max"),
            )
        }
        for row in data["rows"]
    ]
