"""deploy/kubernetes and deploy/kserve: valid by the schemas of those who read them, and true of the service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import fakes
import jsonschema
import kubernetes_validate
import pytest
import yaml

from app import VERSION, settings
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KSERVE = ROOT / "deploy" / "kserve"
TRACING = KUBERNETES / "tracing"
FOLDERS = [KUBERNETES, KSERVE]
KSERVE_SCHEMA = ROOT / "tests" / "kserve_schema.json"
POD_SPEC = "kubernetes-json-schema/v{version}-local-strict/podspec-v1.json"
NAME = "sequences-to-service"
OLDEST = "1.30.0"
"""Of Kubernetes' releases; earlier ones have no preStop that sleeps without a program."""
NEWEST: str = kubernetes_validate.latest_version()
LABELS = {"app.kubernetes.io/name": NAME}
MARGIN_S = 5
"""How much longer a pod's grace must be than what may happen in it."""
PATHS: dict[str, Any] = create_app(Settings(), fakes.models()).openapi()["paths"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
KIBIBYTES = {"Ki": 1, "Mi": 1024, "Gi": 1024 * 1024}

# What a container may not lack to run where the Pod Security Standards ask for the most ("restricted"), and more.
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def parsed(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def kustomization(folder: Path) -> Any:
    return parsed(folder / "kustomization.yaml")


def resources(folder: Path) -> dict[str, Any]:
    """Every resource by its kind."""
    found = [parsed(folder / name) for name in kustomization(folder)["resources"]]
    return {resource["kind"]: resource for resource in found}


def pod(folder: Path) -> Any:
    """The pods' specification."""
    return pod_of(resources(folder))


def pod_of(found: dict[str, Any]) -> Any:
    if "InferenceService" in found:
        return found["InferenceService"]["spec"]["predictor"]
    return found["Deployment"]["spec"]["template"]["spec"]


def container(folder: Path) -> Any:
    (only,) = pod(folder)["containers"]
    return only


def variables(folder: Path) -> dict[str, str]:
    """What the manifests put into the service's environment."""
    given = {each["name"]: each["value"] for each in container(folder).get("env", [])}
    for source in container(folder).get("envFrom", []):
        given |= config_maps(folder)[source["configMapRef"]["name"]]
    return given


def config_maps(folder: Path) -> dict[str, dict[str, str]]:
    """What the generators make, by name, as kustomize reads a file of settings."""
    return {
        generator["name"]: dict(
            line.split("=", 1)
            for name in generator["envs"]
            for line in (folder / name).read_text(encoding="utf-8").splitlines()
            if line.strip() and not line.startswith("#")
        )
        for generator in kustomization(folder).get("configMapGenerator", [])
    }


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the service makes of its environment there."""
    for name in Settings.model_fields:
        monkeypatch.delenv(settings.variable(name), raising=False)
    for name, value in variables(folder).items():
        monkeypatch.setenv(name, value)
    return settings.load()


def check(resource: Any, version: str = NEWEST) -> None:
    """Raise `ValidationError` unless a resource is what its schema has, no field of its own among them."""
    if resource["apiVersion"].startswith("serving.kserve.io/"):
        check_inference_service(resource, version)
    else:
        kubernetes_validate.validate(resource, version, strict=True)


def check_inference_service(resource: Any, version: str) -> None:
    """By KServe's schema; and its predictor, which is a pod's specification with fields of KServe's own, as a pod."""
    jsonschema.validate(resource, json.loads(KSERVE_SCHEMA.read_text(encoding="utf-8")))
    schema = kubernetes_validate.utils.schema_contents(POD_SPEC.format(version=version), version)
    predictor = resource["spec"]["predictor"]
    check(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": resource["metadata"],
            "spec": {name: value for name, value in predictor.items() if name in schema["properties"]},
        },
        version,
    )


ALL = [pytest.param(folder, kind, id=f"{folder.name}-{kind}") for folder in FOLDERS for kind in resources(folder)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_is_listed_and_there(folder: Path) -> None:
    listed = kustomization(folder)["resources"]
    listed += [name for generator in kustomization(folder).get("configMapGenerator", []) for name in generator["envs"]]
    others = {"kustomization.yaml", TRACING.name}
    assert sorted(listed) == sorted(path.name for path in folder.iterdir() if path.name not in others)


def test_kubernetes_has_all_that_a_service_needs() -> None:
    assert set(resources(KUBERNETES)) == {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(("folder", "kind"), ALL)
def test_valid(folder: Path, kind: str, version: str) -> None:
    check(resources(folder)[kind], version)


@pytest.mark.parametrize(("folder", "kind"), ALL)
def test_a_misspelt_field_is_invalid(folder: Path, kind: str) -> None:
    """The check above can fail."""
    resource = resources(folder)[kind]
    resource["spec"]["sepc"] = 1
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        check(resource)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_misspelt_field_of_a_container_is_invalid(folder: Path) -> None:
    found = resources(folder)
    pod_of(found)["containers"][0]["redinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(found.get("InferenceService", found.get("Deployment")))


@pytest.mark.parametrize("folder", FOLDERS)
def test_kustomize_builds_it(folder: Path) -> None:
    """Where kubectl is installed: what it makes is valid, and the same as was read here but for what it fills in."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    built: dict[str, Any] = {resource["kind"]: resource for resource in yaml.safe_load_all(done.stdout)}
    for resource in built.values():
        check(resource)
    assert set(built) - {"ConfigMap"} == set(resources(folder))
    (only,) = pod_of(built)["containers"]
    assert only.pop("image") == f"{NAME}:{VERSION}"
    if "ConfigMap" in built:
        assert only["envFrom"][0]["configMapRef"]["name"] == built["ConfigMap"]["metadata"]["name"] != NAME
        assert built["ConfigMap"]["data"] == config_maps(folder)[NAME]
        del only["envFrom"]
    assert only == {name: value for name, value in container(folder).items() if name not in ("image", "envFrom")}


@pytest.mark.parametrize(("folder", "kind"), ALL)
def test_names_and_labels_agree(folder: Path, kind: str) -> None:
    metadata = resources(folder)[kind]["metadata"]
    assert metadata["name"] == NAME
    assert metadata["labels"] == LABELS
    assert "namespace" not in metadata, "whoever applies it names the namespace"


def test_selectors_find_the_pods() -> None:
    found = resources(KUBERNETES)
    deployment = found["Deployment"]["spec"]
    assert deployment["template"]["metadata"]["labels"] == LABELS
    assert deployment["selector"]["matchLabels"] == LABELS
    assert found["Service"]["spec"]["selector"] == LABELS
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS
    for constraint in pod(KUBERNETES)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == LABELS


def test_the_autoscaler_scales_the_deployment() -> None:
    found = resources(KUBERNETES)
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["apiVersion"] == found["Deployment"]["apiVersion"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])
    assert "replicas" not in found["Deployment"]["spec"], "two would set their number"
    scaled = {metric["resource"]["name"] for metric in found["HorizontalPodAutoscaler"]["spec"]["metrics"]}
    assert scaled <= set(container(KUBERNETES)["resources"]["requests"]), "utilization is a share of what is requested"


def test_one_pod_may_always_go() -> None:
    found = resources(KUBERNETES)
    assert found["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    assert found["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert found["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert pod(KSERVE)["minReplicas"] >= 2


@pytest.mark.parametrize("folder", FOLDERS)
def test_ports_are_the_containers(folder: Path) -> None:
    (port,) = container(folder)["ports"]
    assert port["containerPort"] == int(re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)[0])
    assert f"APP_PORT={port['containerPort']} " in DOCKERFILE
    assert "APP_PORT" not in variables(folder)
    for probe in probes(folder).values():
        assert probe["port"] in (port["name"], port["containerPort"])


def test_the_service_and_the_policy_name_the_containers_port() -> None:
    (port,) = container(KUBERNETES)["ports"]
    (service_port,) = resources(KUBERNETES)["Service"]["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    (rule,) = resources(KUBERNETES)["NetworkPolicy"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["name"]}]


@pytest.mark.parametrize("folder", FOLDERS)
def test_prometheus_is_told_where_to_look(folder: Path) -> None:
    if folder == KSERVE:
        annotations = resources(folder)["InferenceService"]["metadata"]["annotations"]
    else:
        annotations = resources(folder)["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    (port,) = container(folder)["ports"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert annotations["prometheus.io/path"] in PATHS


def probes(folder: Path) -> dict[str, Any]:
    return {name: container(folder)[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_probes_ask_routes_that_exist(folder: Path) -> None:
    for name, probe in probes(folder).items():
        assert "get" in PATHS.get(probe["path"], {}), f"{name} asks {probe['path']}"
    assert probes(folder)["readinessProbe"]["path"] == "/health/ready"
    assert probes(folder)["livenessProbe"]["path"] == "/health/live"


@pytest.mark.parametrize("folder", FOLDERS)
def test_variables_are_settings_that_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {settings.variable(name) for name in Settings.model_fields}
    strangers = set(variables(folder)) - known
    assert strangers == ({"PROTOCOL"} if folder == KSERVE else set())
    assert loaded(folder, monkeypatch).workers == 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_variable_comes_from_the_clusters_services(folder: Path) -> None:
    """A Service called `app` sets APP_PORT to `tcp://...`, which is ignored, but with a warning at each start."""
    assert pod(folder)["enableServiceLinks"] is False


@pytest.mark.parametrize("folder", FOLDERS)
def test_grace_is_longer_than_what_happens_in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = loaded(folder, monkeypatch)
    before = container(folder).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert before + given.drain_s >= 10, "load balancers need a while to forget a pod"
    assert pod(folder)["terminationGracePeriodSeconds"] >= before + given.drain_s + given.stop_timeout_s + MARGIN_S
    assert given.stop_timeout_s >= given.deadline_s, "a request may take as long as it may take"


def test_kserve_waits_longer_than_the_service() -> None:
    assert pod(KSERVE)["timeout"] > Settings.model_fields["deadline_s"].default


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_privileges(folder: Path) -> None:
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert pod(folder)["securityContext"] == POD_SECURITY
    assert (str(POD_SECURITY["runAsUser"]), str(POD_SECURITY["runAsGroup"])) == user
    assert container(folder)["securityContext"] == CONTAINER_SECURITY
    assert pod(folder)["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_tmp_is_writable_and_small(folder: Path) -> None:
    (mount,) = container(folder)["volumeMounts"]
    (volume,) = pod(folder)["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/tmp")  # noqa: S108
    assert volume["emptyDir"]["medium"] == "Memory"
    assert kibibytes(volume["emptyDir"]["sizeLimit"]) < kibibytes(container(folder)["resources"]["limits"]["memory"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_resources_are_requested_and_memory_limited(folder: Path) -> None:
    given = container(folder)["resources"]
    assert set(given["requests"]) == {"cpu", "memory"}
    assert kibibytes(given["limits"]["memory"]) >= kibibytes(given["requests"]["memory"])
    assert "cpu" not in given["limits"], "a limit would stop the process in the middle of requests"


def kibibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * KIBIBYTES[unit]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_image_is_the_projects_version(folder: Path) -> None:
    (image,) = kustomization(folder)["images"]
    assert image == {
        "name": container(folder)["image"],
        "newName": container(folder)["image"],
        "newTag": VERSION,
    }
    assert image["name"] == parsed(ROOT / "docker-compose.yml")["services"]["api"]["image"]


def test_the_page_names_the_one_place_of_the_image() -> None:
    text = " ".join((ROOT / "docs" / "operate.md").read_text(encoding="utf-8").split())
    assert "`images` in `deploy/kubernetes/kustomization.yaml`" in text
    for path in KUBERNETES.rglob("*.yaml"):
        named = re.findall(r"^\s*(?:image|newName|newTag): *(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert named == {"deployment.yaml": [NAME], "kustomization.yaml": [NAME, VERSION]}.get(
            path.name if path.parent == KUBERNETES else "", []
        )


def traced() -> Any:
    """The network policy as the component for tracing makes it, which adds to the end of lists only."""
    policy = resources(KUBERNETES)["NetworkPolicy"]
    (patch,) = kustomization(TRACING)["patches"]
    assert patch["target"] == {"kind": policy["kind"], "name": policy["metadata"]["name"]}
    for operation in yaml.safe_load(patch["patch"]):
        assert (operation["op"], operation["path"]) == ("add", "/spec/egress/-")
        policy["spec"]["egress"].append(operation["value"])
    return policy


def test_nothing_leaves_a_pod_but_traces_where_they_are_on() -> None:
    assert resources(KUBERNETES)["NetworkPolicy"]["spec"]["egress"] == []
    policy = traced()
    for version in (OLDEST, NEWEST):
        check(policy, version)
    collector, names = policy["spec"]["egress"]
    assert [port["port"] for port in collector["ports"]] == [4317, 4318]
    assert {port["port"] for port in names["ports"]} == {53}
    for rule in (collector, names):
        (peer,) = rule["to"]
        assert peer["namespaceSelector"]["matchLabels"], "not to everywhere"


def test_the_component_turns_tracing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    (generator,) = kustomization(TRACING)["configMapGenerator"]
    assert (generator["name"], generator["behavior"]) == (NAME, "merge")
    given = dict(literal.split("=", 1) for literal in generator["literals"])
    monkeypatch.setenv("APP_TRACING", given.pop("APP_TRACING"))
    assert settings.load().tracing
    assert re.fullmatch(r"http://[a-z.-]+:4318", given.pop("OTEL_EXPORTER_OTLP_ENDPOINT"))
    assert given == {}
    text = (KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text.replace("# components:\n#   -", "components:\n  -"))["components"] == [TRACING.name]


def test_kserve_is_told_the_protocol_and_finds_its_container() -> None:
    assert container(KSERVE)["name"] == "kserve-container"
    assert variables(KSERVE)["PROTOCOL"] == "v2"
    assert [path for path in PATHS if re.fullmatch(r"/v2/models/\{\w+\}/infer", path)]


def test_rays_environment_is_the_services_and_ray() -> None:
    """The same packages in the same versions, so that it gives the same answers; from whatever index there is."""
    text = (ROOT / "deploy" / "requirements" / "ray.txt").read_text(encoding="utf-8")
    serving = (ROOT / "requirements" / "serving.txt").read_text(encoding="utf-8")
    pins = re.compile(r"^[a-z][\w.-]*==\S+", re.MULTILINE)
    assert set(pins.findall(serving)) - set(pins.findall(text)) == set()
    assert "ray==" in text
    assert "://" not in text
