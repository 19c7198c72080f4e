import re
from pathlib import Path

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.environments import REQUIREMENTS, ROOT

PEERS = [contender.environment for contender in CONTENDERS.values() if contender.kind == "peer"]
PRONOUNCING = ["phonetisaurus", "g2p"]


def pins(path: Path, package: str) -> list[str]:
    return re.findall(rf"^{package}==.*?(?= \\$)", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_runs_the_bundles_with_the_packages_of_the_service(peer: str) -> None:
    for package in ("numpy", "onnxruntime"):
        ours = pins(ROOT / "requirements" / "serving.txt", package)
        assert ours
        assert pins(REQUIREMENTS / f"{peer}.txt", package) == ours


def test_every_environment_has_its_pinned_file() -> None:
    assert {path.stem for path in REQUIREMENTS.glob("*.txt")} == {*PEERS, *PRONOUNCING}
    assert {path.stem for path in REQUIREMENTS.glob("*.in")} == {*PEERS, *PRONOUNCING}


def test_no_index_is_named() -> None:
    for path in REQUIREMENTS.iterdir():
        assert "://" not in path.read_text(encoding="utf-8")
