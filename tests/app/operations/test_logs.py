"""What is logged: messages as lines or as JSON, and a line for each request where a setting asks for it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.config
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fakes
import httpx
import pytest
from client import Client, client_of_fakes
from service import running

from app import keys
from app.http.middleware import CLIENT_GONE, RequestMiddleware
from app.main import create_app
from app.operations import logs
from app.serving.counters import Traffic
from app.settings import Settings

LONG = "x" * 5_000


@contextmanager
def logging_as(settings: Settings) -> Iterator[Callable[[], list[str]]]:
    """Logging is set up by these settings, and gives the lines written so far."""
    config = logs.log_config(settings)
    stream = io.StringIO()
    for handler in config["handlers"].values():
        handler["stream"] = stream
    before = {name: _setup(logging.getLogger(name)) for name in ("", *config["loggers"])}
    logging.config.dictConfig(config)
    try:
        yield lambda: stream.getvalue().splitlines()
    finally:
        for name, (handlers, level, propagate) in before.items():
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)


def _setup(logger: logging.Logger) -> tuple[list[logging.Handler], int, bool]:
    return list(logger.handlers), logger.level, logger.propagate


def logged(
    settings: Settings, ask: Callable[[Client], httpx.Response], **options: Any
) -> tuple[httpx.Response, dict[str, Any]]:
    """An answer, and the one line of JSON that was logged for it."""
    with logging_as(settings) as lines:
        answer = ask(Client(create_app(settings, fakes.models()), **options))
    (line,) = (line for line in map(json.loads, lines()) if line["logger"] == logs.ACCESS)
    return answer, line


JSON = Settings(access_log=True, log_format="json")


def test_json_is_one_line_with_what_the_message_is_filled_with() -> None:
    with logging_as(Settings(log_format="json")) as lines:
        logging.getLogger("app.operations.shared_metrics").warning(
            "worker %d of %s", 3, "a\nb\x1b[2J", extra={"model": "addition", "color_message": ""}
        )
    (line,) = lines()
    record = json.loads(line)
    assert list(record) == ["timestamp", "level", "logger", "message", "model"]
    moment = datetime.fromisoformat(record.pop("timestamp"))
    assert moment.tzinfo is not None
    assert record == {
        "level": "WARNING",
        "logger": "app.operations.shared_metrics",
        "message": "worker 3 of a\\nb\\x1b[2J",
        "model": "addition",
    }


def test_message_of_a_library_is_one_printable_line() -> None:
    with logging_as(Settings()) as lines:
        logging.getLogger("a.library").error("broken\nINFO:     forged\x1b[2J")
    assert [line.split(" ", 1)[1] for line in lines()] == ["ERROR:    broken\\nINFO:     forged\\x1b[2J"]


def test_json_holds_a_trace_in_its_line() -> None:
    with logging_as(Settings(log_format="json")) as lines:
        try:
            raise ValueError("quoted\nline")
        except ValueError:
            logging.getLogger("app").exception("failed")
    (line,) = lines()
    record = json.loads(line)
    assert record["message"] == "failed"
    assert "ValueError: quoted" in record["exception"]


def test_console_is_a_line_for_people() -> None:
    with logging_as(Settings()) as lines:
        logging.getLogger("uvicorn.error").info("started")
        logging.getLogger("app").debug("not shown")
    (line,) = lines()
    moment, rest = line.split(" ", 1)
    assert datetime.fromisoformat(moment).utcoffset() == timedelta(0)
    assert rest == "INFO:     started"


def test_level_is_that_of_the_setting() -> None:
    with logging_as(Settings(log_level="error")) as lines:
        logging.getLogger("app").warning("not shown")
        logging.getLogger("app").error("shown")
    assert [line.split(" ", 1)[1] for line in lines()] == ["ERROR:    shown"]


@pytest.mark.parametrize(
    ("method", "path", "body", "route", "status"),
    [
        ("POST", "/add", {"expression": "1+1"}, "/add", 200),
        ("POST", "/add", {"expression": "1+"}, "/add", 422),
        ("POST", "/reverse/batch", {"sequences": [fakes.SEQUENCE]}, "/reverse/batch", 200),
        ("GET", "/models/addition", None, "/models/{name}", 200),
        ("GET", "/models/none", None, "/models/{name}", 404),
        ("GET", "/made/up", None, "other", 404),
    ],
)
def test_a_line_for_each_request(method: str, path: str, body: Any, route: str, status: int) -> None:
    answer, line = logged(JSON, lambda client: client.request(method, f"{path}?secret=1", json=body))
    assert answer.status_code == status
    assert re.fullmatch(r"[0-9a-f]{16}", line["request_id"])
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["path"], line["route"]) == (method, path, route)
    assert (line["status"], line["key"], line["address"]) == (status, "none", "127.0.0.1")
    assert 0 < line["milliseconds"] < 60_000
    assert line["message"].startswith(f'127.0.0.1 "{method} {path}" {status} in ')
    assert "secret" not in json.dumps(line)
    assert "1+1" not in json.dumps(line)


def test_the_clients_id_and_the_keys_name_are_logged_and_never_the_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = keys.fresh_key()
    path.write_text(keys.line("ci", key))
    settings = JSON.model_copy(update={"api_keys_file": path})
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": "mine"}
    for ask in (
        lambda client: client.post("/add", json={"expression": "1+1"}, headers=headers),
        lambda client: client.get("/models", headers=headers),
    ):
        _, line = logged(settings, ask)
        assert (line["status"], line["key"], line["request_id"]) == (200, "ci", "mine")
        assert key not in json.dumps(line)
    _, line = logged(settings, lambda client: client.post("/add", json={}, headers={"X-API-Key": key[:-1]}))
    assert (line["status"], line["key"]) == (401, "none")
    assert key[:-1] not in json.dumps(line)


@pytest.mark.parametrize("path", ["/a%0d%0aINFO: forged", "/a%1b[2J", "/%e2%80%ae", "/%00", f"/{LONG}"])
def test_path_is_made_printable(path: str) -> None:
    _, line = logged(JSON, lambda client: client.get(path))
    for value in (line["path"], line["message"]):
        assert value.isascii()
        assert value.isprintable()
        assert len(value) < 1_000


def test_console_shows_the_request_as_a_line() -> None:
    with logging_as(Settings(access_log=True)) as lines:
        client_of_fakes(access_log=True).get("/models", headers={"X-Request-ID": "mine"})
    moment, rest = lines()[-1].split(" ", 1)
    assert datetime.fromisoformat(moment).utcoffset() == timedelta(0)
    assert re.fullmatch(r'INFO:     127\.0\.0\.1 "GET /models" 200 in \d+\.\d ms, request mine, key none', rest)


def test_failure_is_logged_with_its_id() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    app = create_app(JSON, fakes.models())
    app.add_api_route("/fail", fail)
    with logging_as(JSON) as lines:
        assert Client(app).get("/fail", headers={"X-Request-ID": "mine"}).status_code == 500
    failure, request = map(json.loads, lines())
    assert (failure["level"], failure["request_id"], failure["message"]) == ("ERROR", "mine", "request mine failed")
    assert "RuntimeError: broken" in failure["exception"]
    assert (request["status"], request["request_id"], request["route"]) == (500, "mine", "/fail")


def test_without_the_setting_no_request_is_logged() -> None:
    client = client_of_fakes()
    with logging_as(Settings()) as lines:
        assert client.get("/models").status_code == 200
    assert lines() == []


async def test_request_whose_client_has_gone_is_logged() -> None:
    async def leave(*_: Any) -> None:
        raise asyncio.CancelledError(CLIENT_GONE)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    traffic = Traffic(logs.AccessLog(as_json=True).note)
    scope = {"type": "http", "method": "POST", "path": "/add", "headers": [(b"x-request-id", b"mine")]}
    with logging_as(JSON) as lines:
        await RequestMiddleware(leave, traffic, "/add")(scope, nothing, nothing)
        await asyncio.sleep(0)
    (record,) = map(json.loads, lines())
    assert (record["status"], record["address"], record["request_id"]) == (499, "none", "mine")


async def test_requests_of_one_turn_are_a_line_each() -> None:
    log = logs.AccessLog(as_json=True)
    with logging_as(JSON) as lines:
        for number in range(3):
            log.note({"method": "GET", "path": f"/{number}"}, "other", 404, 0.001)
        await asyncio.sleep(0)
        log.note({"method": "GET", "path": "/3"}, "other", 404, 0.001)
        await asyncio.sleep(0)
    assert [json.loads(line)["path"] for line in lines()] == ["/0", "/1", "/2", "/3"]


@pytest.mark.parametrize("workers", [1, 2])
def test_service_logs_json_and_nothing_else(workers: int) -> None:
    with running(log_format="json", access_log=True, workers=workers, drain_s=0) as service:
        assert service.add("10+6") == 16
        service.stop()
        found = service.await_line(r'.*"/add".*')
        assert json.loads(found[0])["route"] == "/add"
        while "Finished server process" not in (line := service.lines.get(timeout=30)):
            assert {"timestamp", "level", "logger", "message"} <= set(json.loads(line))
