import re
from pathlib import Path

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.environments import REQUIREMENTS, ROOT

PEERS = [contender.environment for contender in CONTENDERS.values() if contender.kind == "peer"]
OTHERS = ["phonetisaurus", "g2p", "torch"]
"""What is compared with training, or on words. It runs no bundle."""
OLDER = ["triton"]
"""Its wheel needs NumPy 1, and so another ONNX Runtime."""


def pins(path: Path, package: str) -> list[str]:
    return re.findall(rf"^{package}==.*?(?= \\$)", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer not in OLDER])
def test_a_peer_runs_the_bundles_with_the_packages_of_the_service(peer: str) -> None:
    for package in ("numpy", "onnxruntime"):
        ours = pins(ROOT / "requirements" / "serving.txt", package)
        assert ours
        assert pins(REQUIREMENTS / f"{peer}.txt", package) == ours


def test_every_environment_has_its_pinned_file() -> None:
    assert {path.stem for path in REQUIREMENTS.glob("*.txt")} == {*PEERS, *OTHERS}
    assert {path.stem for path in REQUIREMENTS.glob("*.in")} == {*PEERS, *OTHERS}


def test_no_index_is_named() -> None:
    for path in REQUIREMENTS.iterdir():
        assert "://" not in path.read_text(encoding="utf-8")
