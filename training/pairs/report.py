"""What a person reads of a network for pairs: the model card, the learning curve, and what is known of its answers.

Knows nothing of Keras; a card is made from a manifest alone. Plotting loads Matplotlib only when asked to.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from seq2seq.bundle import Manifest
from seq2seq.evidence import ErrorRates, Proof
from training.pairs.scoring import Score

MISTAKES = 12


def write(manifest: Manifest, score: Score | None, directory: Path) -> None:
    """Write card.md and learning.png; with error rates also reliability.png, and the mistakes."""
    directory.mkdir(exist_ok=True)
    found = "" if score is None else f"\n## Mistakes\n\n{mistakes(score)}\n"
    (directory / "card.md").write_text(card(manifest) + found, encoding="utf-8")
    _plot_learning(directory / "learning.png", manifest.training["history"])
    if isinstance(manifest.evaluation, ErrorRates):
        _plot_reliability(directory / "reliability.png", manifest.evaluation)


def card(manifest: Manifest) -> str:
    """A readable card: what the model does, how it was trained, and what is known of its answers."""
    network, problem, evidence = manifest.network, manifest.problem, manifest.evaluation
    recipe = {key: value for key, value in manifest.training["recipe"].items() if key != "name"}
    golden = "\n".join(
        f"- {_code(str(each.request))} → {_code(str(problem.render(each.decoded)))} ({each.confidence:.4f})"
        for each in manifest.golden[:8]
    )
    return f"""# {manifest.name}, version {manifest.version}

| | |
|---|---|
| reads | up to {problem.source_length - 1} tokens of {len(problem.source_vocabulary) - 2:,} kinds |
| writes | up to {problem.target_length - 1} tokens of {len(problem.target_vocabulary) - 2:,} kinds |
| network | {network.family}, a bidirectional encoder of {_units(network.encoder_units)} units a direction, \
a decoder of {_units(network.decoder_units)}, embeddings of {network.embedding_units} |
| parameters | {network.parameters:,} |
| trained on | {manifest.training["samples"]:,} samples in {manifest.training["seconds"]:,} s |
| packages | Python {manifest.training["python"]}, {_inline(manifest.training["packages"])} |

## Quality

{_rates(evidence) if isinstance(evidence, ErrorRates) else _proof(evidence)}
## Examples

{golden}

## Recipe

`{_inline(recipe)}`
"""


def _proof(proof: Proof) -> str:
    return f"""{proof.sentence}

| | sources | wrong |
|---|---:|---:|
| all | {proof.domain:,} | {proof.wrong:,} |
| held out, never trained on | {proof.held_out:,} | {proof.held_out_wrong:,} |

The weakest source is {_code(str(proof.weakest))}, with a margin of {proof.weakest_margin:.2f} logits. \
Every other text is refused.

![learning](learning.png)
"""


def _rates(rates: ErrorRates) -> str:
    low, high = rates.wrong_interval
    symbol_low, symbol_high = rates.symbol_interval
    width = 1 / len(rates.reliability)
    bins = "\n".join(
        f"| {place * width:.2f} to {(place + 1) * width:.2f} | {count:,} | {mean:.1%} | {right:.1%} |"
        for place, (count, mean, right) in enumerate(rates.reliability)
        if count
    )
    return f"""The test split was never trained on, and no choice was made by it. An answer is right if it equals one \
of its source's targets.

| | wrong | 95% interval |
|---|---:|---:|
| answers | {rates.wrong / rates.tested:.2%} of {rates.tested:,} | {low:.2%} to {high:.2%} |
| symbols | {rates.symbol_errors / rates.symbols:.2%} of {rates.symbols:,} | {symbol_low:.2%} to {symbol_high:.2%} |

![learning](learning.png)

## Confidence

The logits are divided by a temperature of {rates.temperature}, fitted on validation. The expected calibration error \
is {rates.calibration_error:.1%}; it was {rates.uncalibrated_error:.1%} before.

| confidence | answers | mean confidence | right |
|---|---:|---:|---:|
{bins}

![reliability](reliability.png)
"""


def mistakes(score: Score) -> str:
    """A sample of the wrong answers, spread over the test split, each with the nearest right ones."""
    wrong = [place for place, is_wrong in enumerate(score.wrong) if is_wrong]
    shown = wrong[:: max(1, -(-len(wrong) // MISTAKES))]
    if not shown:
        return "None on the test split."
    return "\n".join(
        f"- {_code(score.shown_source(place))} → {_code(score.shown_answer(place))} ({score.confidence[place]:.2f}),"
        f" right is {' or '.join(map(_code, score.shown_targets(place)))}"
        for place in shown
    )


def _code(text: str) -> str:
    """A text as Markdown shows code, whatever backticks it has."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def _units(units: tuple[int, ...]) -> str:
    return " and ".join(map(str, units))


def _inline(data: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in data.items()
    ).replace("|", "\\|")


def _plot_learning(path: Path, history: dict[str, list[float]]) -> None:
    """The shares of wrong answers and symbols on validation, by round."""
    figure, axes = _figure()
    rounds = range(1, len(history["wrong"]) + 1)
    axes.plot(rounds, [100 * each for each in history["wrong"]], "-", label="answers")
    axes.plot(rounds, [100 * each for each in history["symbols_wrong"]], "--", label="symbols")
    axes.set_xlabel("rounds of training")
    axes.set_ylabel("wrong on validation, %")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _plot_reliability(path: Path, rates: ErrorRates) -> None:
    """For each bin of confidence the share that is right; on the diagonal confidence tells the truth."""
    figure, axes = _figure()
    filled = [row for row in rates.reliability if row[0]]
    axes.plot([0, 100], [0, 100], ":", color="gray", label="as sure as right")
    axes.plot([100 * mean for _, mean, _ in filled], [100 * right for _, _, right in filled], "o-", label="this model")
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("answers that are right, %")
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _figure() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes
