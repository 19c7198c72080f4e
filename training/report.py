"""Reports for people: a bundle's model card in Markdown, its plots of loss and error, and how two bundles differ.

Knows nothing of Keras; a card is made from a manifest alone. Plotting loads Matplotlib only when asked to.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from seq2seq.bundle import Manifest
from training import command_line
from training.recipes import Recipe

LEAST = 1e-6
"""What less is drawn as on a logarithmic scale."""
FLOOR = f"(less than {LEAST:g} is drawn as that)"


def write(manifest: Manifest, directory: Path) -> None:
    """Write card.md, loss.png and error.png."""
    directory.mkdir(exist_ok=True)
    (directory / "card.md").write_text(card(manifest), encoding="utf-8")
    history = manifest.training["history"]
    samples = manifest.training["samples"]
    names = {"loss": "training", "val_loss": "validation"}
    losses = {label: history[name] for name, label in names.items() if name in history}
    _plot(directory / "loss.png", losses, samples, f"cross-entropy a symbol\n{FLOOR}")
    names = {
        "exact_sequences": "sequences, training",
        "val_exact_sequences": "sequences, validation",
        "per_symbol": "symbols, training",
    }
    errors = {label: [1 - right for right in history[name]] for name, label in names.items() if name in history}
    _plot(directory / "error.png", errors, samples, f"share wrong\n{FLOOR}")


def card(manifest: Manifest) -> str:
    """A readable card: what the model does, how it was trained, and what is known of its quality."""
    recipe = manifest.training["recipe"]
    proof = manifest.proof
    agreement = manifest.agreement["keras"]
    trained_on = "half of all distinct problems, the rest held out" if recipe["hold_out"] else "the whole domain"
    seen = manifest.training.get("validation_seen")
    if seen is not None:
        trained_on += f"; {seen:.0%} of the validation examples are of problems that were trained on as well"
    settings = {key: value for key, value in recipe.items() if key not in ("name", "about", "problem")}
    golden = "\n".join(f"- `{e.request}` → `{e.decoded}` ({e.confidence:.4f})" for e in manifest.golden)
    return f"""# {manifest.name}, version {manifest.version}

{recipe["about"]}

| | |
|---|---|
| problem | `{_inline(manifest.problem.spec())}` |
| accepts | `{_inline(manifest.problem.input.schema)}` |
| network | {manifest.network.family.replace("_", " ")}, LSTM units {_units(manifest.network.encoder_units)} to \
{_units(manifest.network.decoder_units)}, {manifest.network.parameters:,} parameters |
| source and target length | {manifest.problem.source_length} and {manifest.problem.target_length} symbols |
| trained on | {manifest.training["samples"]:,} samples in {manifest.training["seconds"]:,} s; {trained_on} |
| packages | Python {manifest.training["python"]}, {_inline(manifest.training["packages"])} |

## Quality

{proof.sentence}

| | requests | wrong |
|---|---:|---:|
| all | {proof.tried or proof.domain:,} | {proof.wrong:,} |
| held out, never trained on | {proof.held_out:,} | {proof.held_out_wrong:,} |

The weakest request that was found is `{proof.weakest}`, with a margin of {proof.weakest_margin:.2f} logits. ONNX and \
Keras gave the same answer to {agreement["agreed"]:,} of {agreement["compared"]:,} requests; their probabilities \
differ by at most {agreement["largest_difference"]:.1e}.

![loss](loss.png) ![error](error.png)

## Golden examples

{golden}

## Recipe

{_command(recipe)}

`{_inline(settings)}`
"""


def _command(data: dict[str, Any]) -> str:
    """How to run a bundle's recipe again."""
    try:
        command = command_line.reproducing(Recipe.from_data(data))
    except (KeyError, TypeError, ValueError):
        command = None
    return f"`{command}`" if command else "No command of this release gives this recipe; its settings are below."


def comparison(one: dict[str, Manifest], other: dict[str, Manifest]) -> str:
    """A table of what differs between two bundles, each under its label: recipe, network and evaluation."""
    (label, a), (other_label, b) = *one.items(), *other.items()
    left, right = _figures(a), _figures(b)
    sections = ["recipe", "network", "evaluation"]
    names = sorted(left | right, key=lambda name: sections.index(name.partition(".")[0]))
    rows = [
        (name, _cell(left.get(name)), _cell(right.get(name))) for name in names if left.get(name) != right.get(name)
    ]
    if not rows:
        return "Recipe, network and evaluation are the same.\n"
    table = [("", label, other_label), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
    return "\n".join(lines) + "\n"


def _figures(manifest: Manifest) -> dict[str, Any]:
    """What two bundles are compared by, each value by its path. What recipe and network both say comes once."""
    network = manifest.as_data()["network"]
    recipe = {key: value for key, value in manifest.training["recipe"].items() if key not in ("about", *network)}
    return _flat({"recipe": recipe, "network": network, "evaluation": manifest.as_data()["evaluation"]})


def _flat(data: dict[str, Any], path: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` → `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return "-" if value is None else f"{value:,}" if type(value) is int else str(value)


def _inline(data: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in data.items()).replace("|", "\\|")


def _units(units: tuple[int, ...]) -> str:
    return "+".join(map(str, units))


def _plot(path: Path, curves: dict[str, list[float]], samples: int, label: str) -> None:
    """One line for each labelled figure over the samples seen, on a logarithmic scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curves = {name: [max(value, LEAST) for value in values] for name, values in curves.items()}
    for (name, values), style in zip(curves.items(), ("-", "--", ":"), strict=False):  # one may lie on another
        seen = [samples * (epoch + 1) / len(values) for epoch in range(len(values))]
        axes.plot(seen, values, style, label=name, marker="." if len(values) < 30 else None)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(0, samples * 1.03)
    axes.set_xlabel("samples seen")
    axes.set_ylabel(label)
    axes.set_yscale("log")
    axes.set_ylim(*_whole_decades([value for values in curves.values() for value in values]))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _whole_decades(values: list[float]) -> tuple[float, float]:
    """Limits a little outside of the powers of ten around the values; two powers at least, so that two are labelled."""
    finite = [value for value in values if math.isfinite(value)] or [1.0]
    low, high = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)))
    return 10**low / 1.5, 10 ** max(high, low + 1) * 1.5
