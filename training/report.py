"""Reports for people: a bundle's model card in Markdown, and its plots of loss and accuracy.

Knows nothing of Keras; a card is made from a manifest alone. Plotting loads Matplotlib only when asked to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seq2seq.bundle import Manifest

LEAST_SHARE = 1e-6
"""What a share of nothing is drawn as on a logarithmic scale."""


def write(manifest: Manifest, directory: Path) -> None:
    """Write card.md, loss.png and accuracy.png."""
    directory.mkdir()
    (directory / "card.md").write_text(card(manifest), encoding="utf-8")
    history = manifest.training["history"]
    samples = manifest.training["samples"]
    names = {"loss": "training", "val_loss": "validation"}
    losses = {label: history[name] for name, label in names.items() if name in history}
    _plot(directory / "loss.png", losses, samples, "cross-entropy a symbol")
    names = {
        "exact_sequences": "sequences, training",
        "val_exact_sequences": "sequences, validation",
        "per_symbol": "symbols, training",
    }
    errors = {
        label: [max(1 - right, LEAST_SHARE) for right in history[name]]
        for name, label in names.items()
        if name in history
    }
    _plot(directory / "accuracy.png", errors, samples, f"share wrong (none is drawn at {LEAST_SHARE:g})")


def card(manifest: Manifest) -> str:
    """A readable card: what the model does, how it was trained, and what is known of its quality."""
    recipe = manifest.training["recipe"]
    proof = manifest.evaluation
    agreement = manifest.agreement["keras"]
    trained_on = "half of all distinct problems, the rest held out" if recipe["hold_out"] else "the whole domain"
    settings = {key: value for key, value in recipe.items() if key not in ("name", "about", "problem")}
    golden = "\n".join(f"- `{e.request}` → `{e.decoded}` ({e.confidence:.4f})" for e in manifest.golden)
    return f"""# {manifest.name}, version {manifest.version}

{recipe["about"]}

| | |
|---|---|
| problem | `{_inline(manifest.problem.spec())}` |
| accepts | `{_inline(manifest.problem.schema)}` |
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

![loss](loss.png) ![accuracy](accuracy.png)

## Golden examples

{golden}

## Recipe

`python -m training fit {recipe["name"]} --seed {recipe["seed"]}` with `{_inline(settings)}`
"""


def _inline(data: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in data.items()).replace("|", "\\|")


def _units(units: tuple[int, ...]) -> str:
    return "+".join(map(str, units))


def _plot(path: Path, curves: dict[str, list[float]], samples: int, label: str) -> None:
    """One line for each labelled figure over the samples seen, on a logarithmic scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, values in curves.items():
        seen = [samples * (epoch + 1) / len(values) for epoch in range(len(values))]
        axes.plot(seen, values, label=name, marker="." if len(values) < 30 else None)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("samples seen")
    axes.set_ylabel(label)
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})
