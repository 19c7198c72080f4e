"""2,000 damaged bundles: each is refused with a message that names the file at fault, and none is served.

Half of the damage is plain: files change, and the sums in the manifest do not. The other half is sealed: a careless
script, or an attacker, has brought every sum up to date, so that the bundle is refused only because it contradicts
itself or because its network errs.

A seal without a secret cannot tell an owner from an attacker. So the 2,000 hold no other figure in the record of the
training, and no other Keras file, which this runtime does not read. A weight that is not finite need not change any
answer. Then the service answers as was proven, and `training verify` refuses the bundle. The last test flips and seals
single bits of the graphs, and counts what becomes of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.serving import models as registry
from app.serving import runtime
from app.serving.models import Model
from app.settings import Settings
from seq2seq import bundle
from seq2seq.bundle import MANIFEST, BundleError
from seq2seq.problem import oracle
from seq2seq.problems import from_spec
from training import verifying

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

MODELS = Path(__file__).parents[2] / "models"
SHIPPED = {name: max((MODELS / name).iterdir()) for name in ("addition", "reversal")}
SERVED = tuple(SHIPPED)
PARTS = ("encoder.onnx", "decoder.onnx")
GREEDY = "greedy.onnx"
GRAPHS = (GREEDY, *PARTS)
SEALED_FLIPS = 300
FRESH = 5_000
NOBODY = 65_534


Content = bytes | bytearray


@dataclass
class Copy:
    """A copy of a bundle, to be damaged. Its files are hard links, so that none may be written to in place."""

    path: Path
    random: Random
    locked: bool = False  # whether it is to be read by somebody who may not read everything

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def files(self) -> list[str]:
        """Every file but the manifest."""
        paths = sorted(path for path in self.path.rglob("*") if path.is_file())
        return [path.relative_to(self.path).as_posix() for path in paths if path.name != MANIFEST]

    def any_file(self) -> str:
        return str(self.one_of(*self.files, MANIFEST))

    def one_of(self, *items: Any) -> Any:
        return self.random.choice(items)

    def data(self) -> dict[str, Any]:
        """What the manifest says."""
        data: dict[str, Any] = json.loads(self.read(MANIFEST))
        return data

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, content: Content) -> None:
        self.remove(name)
        (self.path / name).write_bytes(content)

    def remove(self, name: str) -> Path:
        (self.path / name).unlink()
        return self.path / name

    def swap(self, one: str, other: str) -> None:
        content = self.read(one)
        self.write(one, self.read(other))
        self.write(other, content)

    def of_other_model(self, name: str) -> bytes:
        (other,) = set(SERVED) - {self.name}
        return (SHIPPED[other] / name).read_bytes()

    def say(self, data: dict[str, Any]) -> None:
        """Let the manifest say something else, and seal that."""
        self.remove(MANIFEST)
        bundle.write_manifest(self.path, data)

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        data = self.data()
        change(data)
        self.say(data)

    def edit_text(self, old: str, new: str) -> None:
        """Replace a piece of the manifest's text, one of those that there are, and seal the text."""
        pieces = self.read(MANIFEST).rpartition(bundle.SEAL.encode())[0].decode().split(old)
        cut = self.random.randrange(1, len(pieces))
        self.write(MANIFEST, bundle.with_seal((old.join(pieces[:cut]) + new + old.join(pieces[cut:])).encode()))

    def seal(self) -> None:
        """Bring the sums of all files up to date, and have the proof tell of the graph that is there."""
        contents = {name: self.read(name) for name in self.files}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        data = self.data()
        known = data["files"][GREEDY]["sha256"]
        data["files"] = {name: {"sha256": sums[name], "size": len(content)} for name, content in contents.items()}
        proof = json.dumps(data["evaluation"])
        data["evaluation"] = json.loads(proof.replace(known, sums.get(GREEDY, known)))
        self.say(data)


@dataclass(frozen=True)
class Kind:
    """A kind of damage, and how many bundles get it. `damage` gives the files of which a refusal must name one."""

    name: str
    count: int
    damage: Callable[[Copy], list[str]]


KINDS: list[Kind] = []


def kind(count: int) -> Callable[[Callable[[Copy], list[str]]], None]:
    """Damage that says itself which files a refusal must name."""

    def add(damage: Callable[[Copy], list[str]]) -> None:
        KINDS.append(Kind(damage.__name__, count, damage))

    return add


def of_a_file(count: int, *names: str, sealed: bool = False) -> Callable[[Callable[[Copy, bytearray], Content]], None]:
    """Damage of what one file holds: one of these, or any. `sealed` brings the sums up to date."""

    def add(change: Callable[[Copy, bytearray], Content]) -> None:
        def damage(copy: Copy) -> list[str]:
            name: str = copy.one_of(*names) if names else copy.any_file()
            copy.write(name, change(copy, bytearray(copy.read(name))))
            if sealed:
                copy.seal()
            return [name]

        KINDS.append(Kind(change.__name__, count, damage))

    return add


def of_the_manifest(count: int, *others: str) -> Callable[[Callable[[Copy, dict[str, Any]], None]], None]:
    """Damage of what the manifest says, which is then sealed. A refusal names the manifest, or one of the others."""

    def add(change: Callable[[Copy, dict[str, Any]], None]) -> None:
        def damage(copy: Copy) -> list[str]:
            data = copy.data()
            change(copy, data)
            copy.say(data)
            return [MANIFEST, *others]

        KINDS.append(Kind(change.__name__, count, damage))

    return add


def each_of(values: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """One change for each value that a field can be given."""
    return [{field: value} for field, each in values.items() for value in each]


# Plain ----------------------------------------------------------------------------------------------------


@of_a_file(300)
def flipped_bit(copy: Copy, content: bytearray) -> Content:
    content[copy.random.randrange(len(content))] ^= 1 << copy.random.randrange(8)
    return content


@of_a_file(80)
def overwritten(copy: Copy, content: bytearray) -> Content:
    length = copy.random.randint(4, 1_000)
    start = copy.random.randrange(len(content) - length)
    noise = copy.random.randbytes(length)
    content[start : start + length] = noise if copy.random.random() < 0.5 else bytes(255 - each for each in noise)
    return content


@of_a_file(100)
def truncated(copy: Copy, content: bytearray) -> Content:
    return content[: copy.one_of(0, len(content) - 1, copy.random.randrange(len(content)))]


@of_a_file(60)
def grown(copy: Copy, content: bytearray) -> Content:
    return content + copy.random.randbytes(copy.random.randint(1, 1_000))


@kind(60)
def missing(copy: Copy) -> list[str]:
    name = copy.any_file()
    copy.remove(name)
    return [name]


@kind(80)
def swapped(copy: Copy) -> list[str]:
    names = copy.random.sample([*copy.files, MANIFEST], 2)
    copy.swap(*names)
    return [MANIFEST] if MANIFEST in names else names


@kind(60)
def of_the_other_model(copy: Copy) -> list[str]:
    name = copy.any_file()
    copy.write(name, copy.of_other_model(name))
    return [name]


@kind(100)
def edited_manifest(copy: Copy) -> list[str]:
    """One value anywhere in it, the record of the training included, without a new seal."""
    data = copy.data()
    holder, key = copy.one_of(*places(data))
    values: list[object] = [0, 1, 2.5, True, "", "x", None, []]
    holder[key] = copy.one_of(*(value for value in values if value != holder[key]))
    copy.write(MANIFEST, (json.dumps(data, indent=2) + "\n").encode())
    return [MANIFEST]


@kind(60)
def no_manifest_at_all(copy: Copy) -> list[str]:
    content = copy.read(MANIFEST)
    middle = copy.random.randrange(len(content))
    copy.write(
        MANIFEST,
        copy.one_of(
            *(b"", b"\n", b"{}", b"[]", b"null", b"1", b'"manifest"', b"manifest", b"\0" * len(content)),
            copy.random.randbytes(len(content)),
            content.decode().encode("utf-16"),
            b"\xef\xbb\xbf" + content,
            content[:middle] + copy.one_of(b"\xff", b"\0", "é".encode(), b"{") + content[middle:],
            content + content,
            content + b" " * bundle.MOST_MANIFEST_BYTES,
            b"[" * 1_000_000,
            b'{"a":' * 100_000,
            content.rpartition(bundle.SEAL.encode())[0] + b"\n}\n",
        ),
    )
    return [MANIFEST]


@kind(80)
def no_plain_file(copy: Copy) -> list[str]:
    name = copy.any_file()
    outside = copy.path.parent.parent / "outside"
    outside.write_bytes(copy.read(name))
    path = copy.remove(name)
    match copy.one_of("folder", "pipe", "link out of the bundle", "link to nothing", "loop", "unreadable"):
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link out of the bundle":
            path.symlink_to(outside)
        case "link to nothing":
            path.symlink_to("nothing")
        case "loop":
            path.symlink_to(path)
        case "unreadable":
            shutil.copy(outside, path)
            path.chmod(0)
            copy.locked = True
    return [name]


@kind(10)
def linked_folder(copy: Copy) -> list[str]:
    """With all that it holds as it was."""
    outside = copy.path.parent.parent / "outside"
    (copy.path / "report").rename(outside)
    (copy.path / "report").symlink_to(outside)
    return ["report"]


# Sealed: the manifest -------------------------------------------------------------------------------------

PATHS = ("../x", "../../addition/1", "a/b", "/etc/passwd", "", ".", "..", "~", "a\\b", "..\\x", "a\0b", "a\nb", "C:\\x")


@of_the_manifest(60)
def names_that_lead_elsewhere(copy: Copy, data: dict[str, Any]) -> None:
    data[copy.one_of("name", "version")] = copy.one_of(*PATHS, "%2e%2e", "x" * 5_000, "\u017f", "1\u200b")


@of_the_manifest(60)
def files_that_lie_elsewhere(copy: Copy, data: dict[str, Any]) -> None:
    """Listed beside the others, or in the place of one of them."""
    path = copy.one_of(*PATHS, "./greedy.onnx", "report/../greedy.onnx", "report//card.md", "report/", "x" * 5_000)
    files = data["files"]
    name = copy.one_of(*files)
    files[path] = files[name] if copy.random.random() < 0.5 else files.pop(name)


@kind(40)
def other_sums(copy: Copy) -> list[str]:
    """The file that no longer has the sum may be named instead of the manifest."""
    data = copy.data()
    name = copy.one_of(*data["files"])
    entry = data["files"][name]
    digest = copy.one_of("", "0" * 64, entry["sha256"].upper(), entry["sha256"][:-1], entry["sha256"] + "0", "é" * 64)
    size = copy.one_of(0, -1, entry["size"] + 1, entry["size"] - 1, 2**31, 2**63, 10**1_000)
    entry.update(copy.one_of({"sha256": digest}, {"size": size}))
    copy.say(data)
    return [MANIFEST, name]


@of_the_manifest(80)
def other_vocabularies(copy: Copy, data: dict[str, Any]) -> None:
    """Permuted, cut, mixed: in any case not those that the network was trained on."""
    vocabulary = data["vocabularies"][copy.one_of("source", "target")]
    symbols = vocabulary["symbols"]
    one, other = copy.random.sample(range(len(symbols)), 2)
    another_type = float(symbols[one]) if isinstance(symbols[one], int) else len(symbols[one])

    def having(changes: dict[int, Any]) -> dict[str, Any]:
        return {"symbols": [changes.get(place, symbol) for place, symbol in enumerate(symbols)]}

    vocabulary |= copy.one_of(
        {"symbols": copy.random.sample(symbols, len(symbols))},
        {"symbols": symbols[::-1]},
        {"symbols": symbols[:one] + symbols[one + 1 :]},
        {"symbols": [*symbols, copy.one_of("*", "é", 51, 1.5, None)]},
        having({one: symbols[other], other: symbols[one]}),
        having({one: symbols[other]}),
        having({one: another_type}),
        {"padding": symbols[1] if vocabulary["padding"] == symbols[0] else symbols[0]},
    )


@of_the_manifest(40)
def other_lengths(copy: Copy, data: dict[str, Any]) -> None:
    lengths = data["lengths"]
    side = copy.one_of("source", "target")
    lengths[side] = copy.one_of(0, -1, 1, lengths[side] + 1, 10**9, float(lengths[side]), "3", None)


PROBLEMS: dict[str, dict[str, list[Any]]] = {
    "addition": {
        "min_terms": [1, 3, True, "2"],
        "max_terms": [2, 3, 5, 10**9],
        "largest": [9, 98, 100, 999, 10**18, 10**4_000, 99.0],
        "smallest": [1, 99, -1],
        "padding": ["left", "term", "right", None],
        "kind": ["reversal", "division", ["addition"]],
        "more": [1],
    },
    "reversal": {
        "take": [0, 2, 4, 6, 3.0, True],
        "shortest": [3, 5, 7, -6],
        "longest": [5, 7, 10**9, None],
        "cardinality": [0, 9, 49, 51, 5_000, 10**9, 10**18, 10**4_000, "50"],
        "kind": ["addition", "reverse", {}],
        "more": [1],
    },
}
TWO_FIELDS = {
    "addition": [{"min_terms": 1, "max_terms": 1}, {"min_terms": 10**9, "max_terms": 10**9}],
    "reversal": [{"shortest": 7, "longest": 7}],
}


@of_the_manifest(100, *GRAPHS)
def another_problem(copy: Copy, data: dict[str, Any]) -> None:
    """With the vocabularies and lengths of that problem, where there is such a problem and it is not too large."""
    data["problem"] |= copy.one_of(*each_of(PROBLEMS[copy.name]), *TWO_FIELDS[copy.name])
    with suppress(ValueError):
        data |= bundle.derived(from_spec(data["problem"]))


@of_the_manifest(60, *PARTS)
def another_network(copy: Copy, data: dict[str, Any]) -> None:
    """Other units in the encoder come with their number of parameters, so that only the graphs tell."""
    network = data["network"]
    units = network["encoder_units"]
    other = copy.one_of([units[0] + 1], [1], [units[0], units[0]], [10**9], [10**1_000])
    families = {"repeat_vector", "autoregressive", "transformer", "", None} - {network["family"]}
    no_units = copy.one_of([], [0], [-1], [True], ["24"], [24.0], 24, None)
    problem = bundle.read_manifest(SHIPPED[copy.name]).problem

    def counted(encoder: list[int], decoder: list[int]) -> dict[str, Any]:
        parameters = bundle.count_parameters(problem, network["family"], encoder, decoder)
        return {"encoder_units": encoder, "decoder_units": decoder, "parameters": parameters}

    network |= copy.one_of(
        {"family": copy.one_of(*families)},
        {"parameters": network["parameters"] + copy.one_of(-1, 1, 10**6, -(10**6), 0.5)},
        {copy.one_of("encoder_units", "decoder_units"): no_units},
        counted(other, network["decoder_units"]),
        counted(other, other),
    )


@of_the_manifest(100)
def other_golden_examples(copy: Copy, data: dict[str, Any]) -> None:
    golden = data["golden"]
    example = copy.one_of(*golden)
    text = isinstance(example["decoded"], str)
    another = "1" + example["decoded"][1:] + "7" if text else [*example["decoded"][1:], 50]
    less = example["confidence"] - 0.01
    values: dict[str, tuple[Any, ...]] = {
        "decoded": (another, None, "", [], [[]], 16, 1.5, True, [0.0, 1.0, 2.0], {}),
        "confidence": (2.0, -1.0, 0.0, less, 1.001, 1e300, 1, "1.0", None, True, [1.0]),
        "request": (None, 16, "", "1-1", "100+1", [], [1] * 5, [0] * 6, [51] * 6, [1.0] * 6, {}, "9" * 9),
    }
    how = copy.one_of("decoded", "decoded", "confidence", "confidence", "request", "keys", "golden", "emptied")
    if how in values:
        example[how] = copy.one_of(*values[how])
    elif how == "keys":
        copy.one_of(lambda: example.pop(copy.one_of(*example)), lambda: example.update(more=1))()
    elif how == "golden":
        golden[copy.random.randrange(len(golden))] = copy.one_of(None, [], {}, "10+6", 1, [example])
    else:
        data["golden"] = copy.one_of([], {}, None, "", [[]], golden[0])


@of_the_manifest(60)
def a_proof_with_faults(copy: Copy, data: dict[str, Any]) -> None:
    """The network was not exact, not asked everything, or the figures cannot be."""
    evaluation = data["evaluation"]
    domain = evaluation["domain"]
    changes = {
        "wrong": [1, domain, -1, True, 0.0, None],
        "held_out": [-1, domain + 1],
        "held_out_wrong": [1],
        "domain": [0, -domain, 1_000, domain - 1, float(domain)],
        "by_bounds": [-1, 1_000],
        "by_enumeration": [1],
        "tried": [1, -1],
        "least_margin": [-0.5, 0.0, 1, 1e9],
        "weakest": [None, [], "1-1"],
        "weakest_margin": [0.0],
        "largest_difference": [-1.0, 10.0, 0],
        "batch_sizes": [[], [0]],
        "graph": ["0" * 64],
        "runtime": ["x"],
        "sentence": ["Exact."],
    }
    evaluation |= copy.one_of(*each_of(changes), {"wrong": 1, "held_out_wrong": 1})


@of_the_manifest(40)
def runtimes_that_differ(copy: Copy, data: dict[str, Any]) -> None:
    agreement = data["agreement"]
    each = agreement[copy.one_of(*agreement)]
    compared = each["compared"]
    changes = {
        "agreed": [compared - 1, 0, compared + 1, -1, float(compared)],
        "compared": [compared - 1, compared + 1, None, str(compared)],
        "largest_difference": [-1.0, 2.0, 0, None],
    }
    each |= copy.one_of(*each_of(changes))


@of_the_manifest(60)
def value_of_another_type(copy: Copy, data: dict[str, Any]) -> None:
    """Any value outside of the record of the training, which nothing reads."""
    record = data.pop("training")
    found = [*places(data)]
    data["training"] = record
    holder, key = copy.one_of(*found, (data, "training"))
    values = (True, 7, 7.5, "seven", [7], {"seven": 7}, None)
    holder[key] = copy.one_of(*(value for value in values if type(value) is not type(holder[key])))


def objects(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects in a manifest that hold keys of our own choice."""
    fixed = [data[key] for key in ("problem", "vocabularies", "lengths", "network", "evaluation", "agreement")]
    several = [data["vocabularies"]["source"], *data["agreement"].values(), *data["golden"], data["files"][GREEDY]]
    return [data, *fixed, *several]


@of_the_manifest(40)
def key_left_out(copy: Copy, data: dict[str, Any]) -> None:
    del data["seal"]
    needed = {key for holder in objects(data) for key in holder} - {"embedding_units"}  # which older bundles lack
    keys = [(holder, key) for holder in objects(data) for key in holder if key in needed]
    holder, key = copy.one_of(*keys, *((data["files"], name) for name in bundle.GRAPHS))
    del holder[key]


@of_the_manifest(30)
def key_that_nobody_knows(copy: Copy, data: dict[str, Any]) -> None:
    holder = copy.one_of(*objects(data))
    holder[copy.one_of("more", "", "Format", "__class__", "self", "x" * 5_000, "é")] = copy.one_of(1, None, {}, "x")


@kind(40)
def json_of_its_own(copy: Copy) -> list[str]:
    """What Python's parser lets pass, or what passes but cannot be served."""
    old, new = copy.one_of(
        ('"confidence": ', copy.one_of('"confidence": NaN, "x": ', '"confidence": Infinity, "x": ')),
        ('"least_margin": ', '"least_margin": -Infinity, "x": '),
        ('"seconds": ', copy.one_of('"seconds": NaN, "x": ', '"seconds": 1e999, "x": ', '"seconds": -1E+999, "x": ')),
        ('"seconds": ', '"seconds": 1' + "0" * 5_000 + ', "x": '),
        *(
            (f'"{key}": ', f'"{key}": 0, "{key}": ')
            for key in ("name", "size", "seconds", "request", "encoder_units", "golden")
        ),
        ('"name": "', copy.one_of('"name": "\\ud800', '"name": "\\udc00\\ud800', '"name": "\\x')),
        ('"seconds": ', '"seconds": ' + "[" * 500 + "]" * 500 + ', "x": '),
        ('"seconds": ', '"seconds": ' + "[" * 20 + "]" * 20 + ', "x": '),
        ('"seconds": ', '"seconds": ' + '{"x":' * 900 + "0" + "}" * 900 + ', "x": '),
        ('"seconds": ', '"seconds": "' + "x" * bundle.MOST_MANIFEST_BYTES + '", "x": '),
        ('"seconds": ', '"seconds": // none\n'),
        ('"seconds": ', "'seconds': "),
        ('": ', '": é'),
    )
    copy.edit_text(old, new)
    return [MANIFEST]


# Sealed: the graphs ---------------------------------------------------------------------------------------


@kind(30)
def swapped_graphs(copy: Copy) -> list[str]:
    one = copy.one_of(*GRAPHS)
    other = copy.one_of(*(name for name in bundle.GRAPHS if name != one))
    copy.swap(one, other)
    copy.seal()
    return [one, other]


@kind(20)
def graphs_of_the_other_model(copy: Copy) -> list[str]:
    names = copy.one_of(*((name,) for name in GRAPHS), PARTS, GRAPHS)
    for name in names:
        copy.write(name, copy.of_other_model(name))
    copy.seal()
    return [*names]


@of_a_file(20, *GRAPHS, sealed=True)
def no_graph_at_all(copy: Copy, content: bytearray) -> Content:
    half = len(content) // 2
    noise = copy.random.randbytes(len(content))
    cut = content[: copy.random.randrange(1, len(content))]
    turned = content[half:] + content[:half]
    nothing: bytes = copy.one_of(
        b"", b"\0", b"\0" * len(content), b"onnx", content[1:], content[::-1], noise, cut, turned
    )
    return nothing


@of_a_file(30, *GRAPHS, sealed=True)
def noise_in_a_graph(copy: Copy, content: bytearray) -> Content:
    """A thousand bytes of it, somewhere."""
    start = copy.random.randrange(len(content) - 1_000)
    content[start : start + 1_000] = copy.random.randbytes(1_000)
    return content


@of_a_file(60, *GRAPHS, sealed=True)
def other_weights(copy: Copy, content: bytearray) -> Content:
    """One graph's weights differ from those of the others: no numbers, or nothing like those that were trained."""
    model = onnx.load_from_string(bytes(content))
    weights = [each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT and len(each.dims) > 1]
    tensor = copy.one_of(*weights)
    values = numpy_helper.to_array(tensor)
    one_less = values.copy()
    one_less.flat[copy.random.randrange(values.size)] = copy.one_of(np.nan, np.inf, -np.inf)
    noise = np.random.default_rng(copy.random.randrange(1_000)).normal(size=values.shape)
    changed = copy.one_of(one_less, values * 0, -values, values / 2, np.roll(values, 1, axis=-1), values + noise)
    if np.array_equal(changed, values):  # those that are all zeros
        changed = values + noise
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed, dtype=np.float32), tensor.name))
    written: bytes = model.SerializeToString()
    return written


@kind(40)
def another_interface(copy: Copy) -> list[str]:
    """Other names, types or shapes than the problem and the network need, or weights that lie elsewhere."""
    name: str = copy.one_of(*GRAPHS)
    model = onnx.load_from_string(copy.read(name))
    graph = model.graph
    value = copy.one_of(*graph.input, *graph.output)
    shape = value.type.tensor_type.shape
    how = copy.one_of("renamed", "one more", "declared type", "other type", "fixed batch", "length", "rank", "outside")
    if how == "renamed":
        rename(graph, value.name, "renamed")
        value.name = "renamed"
    elif how == "one more":
        graph.output.append(helper.make_tensor_value_info("more", TensorProto.INT32, None))
        graph.node.append(helper.make_node("Identity", [graph.input[0].name], ["more"]))
    elif how == "declared type":
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    elif how == "other type":
        output = graph.output[-1]
        rename(graph, output.name, "inner")
        graph.node.append(helper.make_node("Cast", ["inner"], [output.name], to=TensorProto.DOUBLE))
        output.type.tensor_type.elem_type = TensorProto.DOUBLE
    elif how == "fixed batch":
        next(size for size in shape.dim if size.dim_param).dim_value = copy.one_of(1, 8)
    elif how == "length":
        shape.dim[-1 if name in PARTS else 0].dim_value += 1
    elif how == "rank":
        shape.dim.add().dim_value = 1
    else:
        put_weights_outside(copy, graph)
    copy.write(name, model.SerializeToString())
    copy.seal()
    if how == "outside":  # where the seal, had it been made of all files, would not have vouched for them
        copy.edit(lambda data: data["files"].pop("weights", None))
    return [name]


def rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if each == old else each for each in node.input]
        node.output[:] = [new if each == old else each for each in node.output]


def put_weights_outside(copy: Copy, graph: Any) -> None:
    """Into a file beside the graph, which ONNX has a way to do."""
    tensor = max(graph.initializer, key=lambda each: len(each.raw_data))
    (copy.path / "weights").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", copy.one_of("weights", str(copy.path / "weights"), "../1/weights")


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in what a manifest says, as what holds it and by which key, without the seal."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        if key != "seal":
            yield data, key
            if isinstance(data[key], dict | list):
                yield from places(data[key])


# ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def workshop() -> Iterator[Path]:
    """A folder that anybody may look into, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def copied(workshop: Path, name: str, seed: int) -> Iterator[Copy]:
    original = workshop / "original" / name / SHIPPED[name].name
    if not original.exists():
        shutil.copytree(SHIPPED[name], original)
    folder = workshop / "copy"
    path = folder / name / original.name
    shutil.copytree(original, path, copy_function=os.link)
    try:
        yield Copy(path, Random(seed))
    finally:
        shutil.rmtree(folder)


def state(directory: Path) -> dict[Path, tuple[int, bytes]]:
    """All that a folder holds: types, modes and contents."""
    return {
        path.relative_to(directory): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in directory.rglob("*")
    }


@contextmanager
def nobody(wanted: bool) -> Iterator[None]:
    """As one who may read only what all may: root may read everything."""
    root = wanted and os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def load(copy: Copy) -> Model:
    """As the service does it."""
    with nobody(copy.locked):
        return registry.load_model(copy.path, runtime.loader("onnx"), batch_size=Settings().max_batch_size)


def complaint(copy: Copy, names: Iterable[str], receive: Callable[[Copy], object] = load) -> str | None:
    """What is wrong with how a copy is received, if anything is."""
    try:
        receive(copy)
    except BundleError as error:
        message = str(error)
        if not message.startswith(str(copy.path)):
            return f"names no path of the bundle: {message}"
        if not any(name in message.removeprefix(str(copy.path)) for name in names):
            return f"names none of {names}: {message}"
        return f"takes {len(message)} characters: {message:.200}" if len(message) > 1_000 or "\n" in message else None
    except Exception as error:
        return f"is refused by {type(error).__name__}: {error}"
    return "is served"


def is_exact(copy: Copy, seed: int) -> bool:
    """Whether a copy that is served answers fresh requests without a fault."""
    model = load(copy)
    sources = oracle(model.problem).sample_sources(np.random.default_rng(seed), FRESH)
    return bool((model.network.greedy(sources).ids == oracle(model.problem).answer(sources)).all())


@pytest.mark.parametrize("name", SERVED)
def test_a_copy_is_served_until_it_is_damaged(workshop: Path, name: str) -> None:
    """What is refused below is refused for its damage, not for having been copied or sealed."""
    with copied(workshop, name, 0) as copy:
        before = state(copy.path)
        load(copy)
        copy.seal()
        copy.edit_text('"name"', '"name"')
        assert state(copy.path) == before
        copy.locked = True
        load(copy)
        (copy.path / "unlisted").write_bytes(b"what nobody reads")
        copy.edit(lambda data: data["training"].update(seconds=1.0))
        load(copy)


def test_2_000_damaged_bundles(workshop: Path, say: Callable[[str], None]) -> None:
    assert sum(kind.count for kind in KINDS) == 2_000
    originals = {name: state(SHIPPED[name]) for name in SERVED}
    refused: Counter[str] = Counter()
    complaints: list[str] = []
    by_verify: list[int] = []
    for kind in KINDS:
        for seed in range(kind.count):
            name = SERVED[seed % len(SERVED)]
            with copied(workshop, name, seed) as copy:
                names = kind.damage(copy)
                where = f"{kind.name} of {name} by seed {seed}"
                assert state(copy.path) != originals[name], f"{where} changes nothing"
                wrong = complaint(copy, names)
                if wrong == "is served" and kind.name == "other_weights" and is_exact(copy, seed):
                    wrong = complaint(copy, names, lambda copy: verifying.check_weights(bundle.read(copy.path)))
                    by_verify.append(seed)
                if wrong:
                    complaints.append(f"{where} {wrong}")
                else:
                    refused[kind.name.replace("_", " ")] += 1
    say(
        f"{refused.total()} of 2000 damaged bundles refused by name: "
        + ", ".join(f"{n} {k}" for k, n in refused.items())
    )
    assert len(by_verify) <= 1, "the service refuses all but one that answers as was proven"
    assert not complaints, "\n".join([f"{len(complaints)} complaints", *complaints[:40]])


def test_flipped_bits_that_a_seal_vouches_for(workshop: Path, say: Callable[[str], None]) -> None:
    """Nothing but a refusal or a network that passes all checks; how exact such a network still is, is only counted."""
    outcomes: Counter[str] = Counter()
    for seed in range(SEALED_FLIPS):
        name = SERVED[seed % len(SERVED)]
        with copied(workshop, name, seed) as copy:
            graph = copy.one_of(*GRAPHS)
            content = bytearray(copy.read(graph))
            content[copy.random.randrange(len(content))] ^= 1 << copy.random.randrange(8)
            copy.write(graph, content)
            copy.seal()
            wrong = complaint(copy, (*GRAPHS, MANIFEST))  # the manifest, where the answers are wrong
            assert wrong in (None, "is served"), f"bit flipped in {graph} of {name} by seed {seed}: {wrong}"
            if wrong is None:
                outcomes["refused"] += 1
            else:
                outcomes["served and exact" if is_exact(copy, seed) else "served and not exact"] += 1
    say(
        f"{SEALED_FLIPS} bits of graphs flipped and sealed: {outcomes['refused']} refused,"
        f" {outcomes['served and exact']} served and exact on {FRESH} fresh requests,"
        f" {outcomes['served and not exact']} served and not"
    )
    assert outcomes["refused"] > 0
