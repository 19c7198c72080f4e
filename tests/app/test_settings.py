from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app import settings
from app.settings import Canary, Settings, WrongSetting


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    loaded = settings.load()
    assert loaded.models_dir == Path("models")
    assert (loaded.host, loaded.port, loaded.workers) == ("127.0.0.1", 8000, 1)
    assert (loaded.max_body_bytes, loaded.max_batch_body_bytes) == (65536, 1048576)


def test_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "9000")
    monkeypatch.setenv("APP_MODELS_DIR", "/srv/models")
    assert settings.load().port == 9000
    assert settings.load().models_dir == Path("/srv/models")


CANARY = Canary(version=2, share=0.1)


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("versions", '{"addition": 1, "reversal": 2}', {"addition": 1, "reversal": 2}),
        ("versions", "addition=1,reversal=2", {"addition": 1, "reversal": 2}),
        ("versions", " addition = 1 , reversal = 2, ", {"addition": 1, "reversal": 2}),
        ("canaries", '{"addition": {"version": 2, "share": 0.1}}', {"addition": CANARY}),
        ("canaries", '{"addition": "2:0.1"}', {"addition": CANARY}),
        ("canaries", "addition=2:0.1,reversal=2:0.1", {"addition": CANARY, "reversal": CANARY}),
        ("allowed_hosts", '["example.com", "*.example.org"]', ["example.com", "*.example.org"]),
        ("allowed_hosts", "example.com, *.example.org", ["example.com", "*.example.org"]),
        ("allowed_hosts", "[::1],example.com", ["[::1]", "example.com"]),
        ("cors_origins", "*", ["*"]),
        ("cors_origins", "https://a.example,https://b.example:8443", ["https://a.example", "https://b.example:8443"]),
    ],
)
def test_lists_and_maps_are_json_or_have_commas(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str, meant: Any
) -> None:
    monkeypatch.setenv(settings.variable(name), written)
    assert getattr(settings.load(), name) == meant


@pytest.mark.parametrize("name", Settings.model_fields)
def test_empty_means_the_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(settings.variable(name), "")
    assert getattr(settings.load(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_an_example_that_works(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert settings.example(name) != "none"
    monkeypatch.setenv(settings.variable(name), settings.example(name))
    assert getattr(settings.load(), name) is not None


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("APP_API_KEY_FILE", "APP_API_KEYS_FILE"),
        ("APP_API_KEYS", "APP_API_KEYS_FILE"),
        ("APP_API_KEY", "APP_API_KEYS_FILE"),
        ("app_keys_file", "APP_API_KEYS_FILE"),
        ("APP_WORKER", "APP_WORKERS"),
        ("APP_ALLOWED_HOST", "APP_ALLOWED_HOSTS"),
        ("APP_LOGLEVEL", "APP_LOG_LEVEL"),
        ("APP_DEADLINE", "APP_DEADLINE_S"),
        ("APP_MODEL_DIR", "APP_MODELS_DIR"),
        ("APP_BATCH_SIZE", "APP_MAX_BATCH_SIZE"),
    ],
)
def test_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, meant: str) -> None:
    monkeypatch.setenv(variable, "secret")
    with pytest.raises(WrongSetting) as caught:
        settings.load()
    assert str(caught.value).startswith(f"{variable} is not a setting; did you mean {meant}?")
    assert "secret" not in str(caught.value)


def test_every_setting_that_lacks_or_repeats_a_letter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        known = settings.variable(name)
        for place in range(len(settings.PREFIX), len(known)):
            for misspelt in (known[:place] + known[place + 1 :], known[:place] + known[place] + known[place:]):
                with monkeypatch.context() as context:
                    context.setenv(misspelt, "1")
                    with pytest.raises(WrongSetting, match="did you mean APP_"):
                        settings.load()


OF_A_SERVICE = {
    "APP_PORT": "tcp://10.96.12.7:8000",
    "APP_SERVICE_HOST": "10.96.12.7",
    "APP_SERVICE_PORT": "8000",
    "APP_SERVICE_PORT_HTTP": "8000",
    "APP_PORT_8000_TCP": "tcp://10.96.12.7:8000",
    "APP_PORT_8000_TCP_ADDR": "10.96.12.7",
    "APP_PORT_8000_TCP_PORT": "8000",
    "APP_PORT_8000_TCP_PROTO": "tcp",
}
OF_ANOTHER = {
    "APP_WORKERS_PORT": "tcp://10.96.12.8:80",
    "APP_WORKERS_SERVICE_HOST": "10.96.12.8",
    "APP_WORKERS_PORT_53_UDP_ADDR": "10.96.12.8",
}


@pytest.mark.parametrize("variables", [OF_A_SERVICE, OF_ANOTHER])
def test_what_kubernetes_sets_for_services_is_ignored(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settings.load().port == 8000
    names = ", ".join(sorted(variables))
    assert settings.remarks() == [f"ignored, because Kubernetes sets them for its Services: {names}"]


def test_a_port_that_is_set_is_no_port_of_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "9000")
    assert settings.load().port == 9000
    assert settings.remarks() == []


def test_other_unknown_variables_are_remarked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENVIRONMENT", "secret")
    monkeypatch.setenv("APP_COLOUR", "secret")
    settings.load()
    assert settings.remarks() == ["ignored, because they are not settings: APP_COLOUR, APP_ENVIRONMENT"]


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("APP_PORT", "http", "APP_PORT is 'http': Input should be a valid integer"),
        ("APP_PORT", "70000", "APP_PORT is '70000': Input should be less than or equal to 65535"),
        ("APP_WORKERS", "0", "APP_WORKERS is '0': Input should be greater than 0"),
        ("APP_RUNTIME", "torch", "APP_RUNTIME is 'torch': Input should be 'onnx' or 'tensorflow'"),
        ("APP_VERSIONS", '{"addition": "x"}', "APP_VERSIONS[addition] is 'x'"),
        ("APP_VERSIONS", "addition", "APP_VERSIONS is 'addition': it is neither JSON nor NAME=VALUE"),
        ("APP_VERSIONS", "addition=new", "APP_VERSIONS[addition] is 'new'"),
        ("APP_VERSIONS", "addition=1,addition=2", "addition is there twice"),
        ("APP_VERSIONS", '{"addition": 1, "addition": 2}', "addition is there twice"),
        ("APP_VERSIONS", "[1]", "APP_VERSIONS is '[1]': it is neither JSON nor"),
        ("APP_VERSIONS", "[" * 100_000, "APP_VERSIONS is '[[[["),
        ("APP_CANARIES", "addition=2", "APP_CANARIES[addition] is '2': a canary is VERSION:SHARE, such as 2:0.1"),
        ("APP_CANARIES", "addition=2:7", "APP_CANARIES[addition][share] is '7'"),
        ("APP_DOCS", "maybe", "APP_DOCS is 'maybe'"),
        ("APP_DEADLINE_S", "inf", "APP_DEADLINE_S is 'inf': Input should be a finite number"),
        ("APP_CORS_ORIGINS", "a.example", "APP_CORS_ORIGINS[0] is 'a.example': an origin is"),
        ("APP_CORS_ORIGINS", '["https://a.example/"]', "APP_CORS_ORIGINS[0] is 'https://a.example/': an origin is"),
        ("APP_CORS_ORIGINS", '["https://a.example", "b.example"]', "APP_CORS_ORIGINS[1] is 'b.example': an origin is"),
        ("APP_CORS_ORIGINS", '["null"]', "APP_CORS_ORIGINS[0] is 'null': an origin is"),
        ("APP_CORS_ORIGINS", '["https://*.example"]', "an origin is a scheme, a host"),
        ("APP_ALLOWED_HOSTS", "a.example:8000", "APP_ALLOWED_HOSTS[0] is 'a.example:8000': a host is"),
        ("APP_ALLOWED_HOSTS", '["*"]', "a host is a name or an address"),
        ("APP_ALLOWED_HOSTS", '["a.*.example"]', "a host is a name or an address"),
        ("APP_ALLOWED_HOSTS", '["https://a.example"]', "a host is a name or an address"),
        ("APP_ALLOWED_HOSTS", '["a.example"', "APP_ALLOWED_HOSTS[0] is"),
    ],
)
def test_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(WrongSetting) as caught:
        settings.load()
    assert str(caught.value).startswith(variable)
    assert complaint in str(caught.value)
    assert f"for example: {variable}={settings.example(variable.removeprefix('APP_').lower())}" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_table_lists_every_setting() -> None:
    lines = settings.table().splitlines()
    assert len(lines) == 2 + len(Settings.model_fields)
    assert "| `APP_PORT` | `--port` | `8000` | Port to listen on; 0 for any free one |" in lines


def test_hosts_are_compared_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ALLOWED_HOSTS", '["A.Example", "*.B.Example", "[::1]"]')
    assert settings.load().allowed_hosts == ["a.example", "*.b.example", "[::1]"]


def test_nothing_is_asked_for_by_default() -> None:
    loaded = settings.load()
    assert (loaded.api_keys_file, loaded.allowed_hosts, loaded.cors_origins) == (None, [], [])
    assert (loaded.docs, loaded.metrics) == (True, True)
    assert settings.default("api_keys_file") == "none"


@pytest.mark.parametrize("proxy", ["*", "proxy", "10.0.0.1/8", "10.0.0.0/33", "256.0.0.1", "", "10.0.0.1:80"])
def test_proxy_is_an_address_or_a_network(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"such as 192\.0\.2\.7 or 10\.0\.0\.0/8"):
        settings.Settings(trusted_proxies=[proxy])


def test_proxies_are_addresses_and_networks() -> None:
    proxies = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
    assert settings.Settings(trusted_proxies=["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]).trusted_proxies == proxies


def test_what_is_given_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "9000")
    monkeypatch.setenv("APP_WORKERS", "many")
    loaded = settings.load({"port": "9001", "workers": "", "versions": "addition=1"})
    assert (loaded.port, loaded.workers, loaded.versions) == (9001, 1, {"addition": 1})
    assert (os.environ["APP_PORT"], os.environ["APP_WORKERS"]) == ("9000", "many")
