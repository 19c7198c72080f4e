"""What the Makefile calls: the audit, against a database of this process's own, and the bill of materials."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PINNED = {
    pin
    for name in ("serving", "tracing")
    for pin in re.findall(
        r"^(\S+)==(\S+)", (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
}


class Database(ThreadingHTTPServer):
    """Answers as osv.dev does: the packages named `vulnerable` have a vulnerability, the others none."""

    def __init__(self, *vulnerable: str):
        super().__init__(("127.0.0.1", 0), Question)
        self.vulnerable = vulnerable
        self.asked: set[tuple[str, str]] = set()


class Question(BaseHTTPRequestHandler):
    server: Database

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = question["package"]["name"]
        self.server.asked.add((name, question["version"]))
        answer = json.dumps({"vulns": [_vulnerability(name)]} if name in self.server.vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


def _vulnerability(name: str) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": "99.1"}]
    affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": "TEST-2026-1", "details": "It is for a test.", "aliases": [], "affected": [affected]}


@contextmanager
def answering(*vulnerable: str) -> Iterator[Database]:
    with Database(*vulnerable) as database:
        thread = threading.Thread(target=database.serve_forever)
        thread.start()
        yield database
        database.shutdown()
        thread.join()


def audit(address: Any, *options: str) -> subprocess.CompletedProcess[str]:
    host, port = address
    environ = os.environ | {"OSV_URL": f"http://{host}:{port}/v1/query", "no_proxy": host}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [str(ROOT / "scripts" / "audit"), *options]
    return subprocess.run(
        command, env=environ | {"PATH": path}, capture_output=True, text=True, timeout=200, check=False
    )


def test_audit_asks_about_every_pin() -> None:
    with answering() as database:
        result = audit(database.server_address)
    assert result.returncode == 0, result.stderr
    assert f"no known vulnerability in {len(PINNED)} pins" in result.stdout
    assert len(PINNED) > 30
    assert database.asked >= PINNED


def test_audit_fails_on_what_it_finds() -> None:
    with answering("numpy") as database:
        result = audit(database.server_address)
        ignored = audit(database.server_address, "--ignore-vuln", "TEST-2026-1")
    assert result.returncode == 1
    for version in (version for name, version in PINNED if name == "numpy"):
        assert re.search(rf"numpy +{re.escape(version)} +TEST-2026-1 +99\.1", result.stdout)
    assert ignored.returncode == 0


def test_audit_is_skipped_where_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    result = audit(address)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "audit: skipped, for no database of vulnerabilities answers\n"


def test_audit_waits_for_no_database_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = audit(listener.getsockname())
    assert result.returncode == 0
    assert "audit: skipped" in result.stdout


def test_bill_of_materials_lists_what_is_installed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    installed = set()
    for part in importlib.metadata.distributions():
        if any(name == canonical(part.metadata["Name"]) for name, _ in PINNED):
            files = Path(str(part.locate_file(""))).glob(f"{part.metadata['Name'].replace('-', '_')}-*.dist-info")
            for folder in files:
                shutil.copytree(folder, packages / folder.name)
            installed.add((canonical(part.metadata["Name"]), part.version))
    path = tmp_path / "new" / "bill.json"
    command = [str(ROOT / "scripts" / "sbom"), str(tmp_path / "venv" / "bin" / "python"), str(path)]
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(command, env=environ, capture_output=True, check=True, timeout=200)
    bill = json.loads(path.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "sequences-to-service")
    assert {(canonical(part["name"]), part["version"]) for part in bill["components"]} == installed
    assert len(installed) > 20
    assert all(part["purl"].startswith("pkg:pypi/") for part in bill["components"])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
