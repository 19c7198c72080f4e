from __future__ import annotations

from pathlib import Path

import pytest

from app import settings
from app.settings import Settings, WrongSetting


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(settings.variable(name), raising=False)


def test_defaults() -> None:
    loaded = settings.load()
    assert loaded.models_dir == Path("models")
    assert (loaded.host, loaded.port, loaded.workers) == ("127.0.0.1", 8000, 1)
    assert (loaded.max_body_bytes, loaded.max_batch_body_bytes) == (65536, 1048576)


def test_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "9000")
    monkeypatch.setenv("APP_VERSIONS", '{"addition": 2}')
    assert settings.load().port == 9000
    assert settings.load().versions == {"addition": 2}


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("APP_PORT", "http", "APP_PORT is 'http': Input should be a valid integer"),
        ("APP_PORT", "70000", "APP_PORT is '70000': Input should be less than or equal to 65535"),
        ("APP_WORKERS", "0", "APP_WORKERS is '0': Input should be greater than 0"),
        ("APP_RUNTIME", "torch", "APP_RUNTIME is 'torch': Input should be 'onnx' or 'tensorflow'"),
        ("APP_VERSIONS", '{"addition": "x"}', "APP_VERSIONS[addition] is 'x'"),
        ("APP_VERSIONS", "addition=1", "versions"),
        ("APP_DOCS", "maybe", "APP_DOCS is 'maybe'"),
        ("APP_CORS_ORIGINS", "https://a.example", "cors_origins"),
        ("APP_CORS_ORIGINS", '["https://a.example/"]', "APP_CORS_ORIGINS[0] is 'https://a.example/': an origin is"),
        ("APP_CORS_ORIGINS", '["https://a.example", "b.example"]', "APP_CORS_ORIGINS[1] is 'b.example': an origin is"),
        ("APP_CORS_ORIGINS", '["null"]', "APP_CORS_ORIGINS[0] is 'null': an origin is"),
        ("APP_CORS_ORIGINS", '["https://*.example"]', "an origin is scheme and host"),
        ("APP_ALLOWED_HOSTS", '["a.example:8000"]', "APP_ALLOWED_HOSTS[0] is 'a.example:8000': a host is"),
        ("APP_ALLOWED_HOSTS", '["*"]', "a host is a name or an address"),
        ("APP_ALLOWED_HOSTS", '["a.*.example"]', "a host is a name or an address"),
        ("APP_ALLOWED_HOSTS", '["https://a.example"]', "a host is a name or an address"),
    ],
)
def test_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(WrongSetting) as caught:
        settings.load()
    assert complaint in str(caught.value)


def test_table_lists_every_setting() -> None:
    lines = settings.table().splitlines()
    assert len(lines) == 2 + len(Settings.model_fields)
    assert "| `APP_PORT` | `--port` | `8000` | Port to listen on; 0 for any that is free |" in lines


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
