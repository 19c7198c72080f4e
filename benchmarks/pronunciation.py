"""How well and how fast our model and others pronounce the test words of examples/pronunciation.

An answer is right if it is one of the word's pronunciations, stress aside. Errors in phonemes are the edits that make
the nearest pronunciation of the answer, over the length of that one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import environments, machine
from benchmarks.environments import ROOT, CannotPrepare
from benchmarks.stats import Spread, significant
from examples.pronunciation import make_pairs
from seq2seq import bundle
from seq2seq.decoding import Autoregressive
from seq2seq.runtimes import onnx
from seq2seq.vocabulary import IdArray
from training.pairs import scoring

Words = Mapping[str, Sequence[str]]
"""Words with their pronunciations, phonemes separated by blanks."""

Counts = npt.NDArray[np.int64]

BUNDLES = ROOT / "models" / "pronunciation"
BATCH = 64


@dataclass(frozen=True)
class Trained:
    """A contender that is ready to pronounce words."""

    pronounce: Callable[[Sequence[str]], list[str]]
    model: Path
    saw_test_words: bool = False
    training_s: float | None = None


def phonetisaurus(words: Words, work: Path) -> Trained:
    """An n-gram model over aligned letters and phonemes, trained here with the settings that it comes with."""
    command: list[str | Path] = [environments.python("phonetisaurus"), "-m", "phonetisaurus"]
    lexicon, model = work / "lexicon.txt", work / "model.fst"
    lexicon.write_text("".join(f"{word} {each}\n" for word, sounds in words.items() for each in sounds))
    start = time.perf_counter()
    _output([*command, "train", "--model", model, lexicon])
    training_s = time.perf_counter() - start

    def pronounce(words: Sequence[str]) -> list[str]:
        lines = _output([*command, "predict", "--model", model], words)
        sounds = dict(line.split(" ", 1) for line in lines)
        return [sounds.get(word, "") for word in words]  # it leaves out a word that it cannot pronounce

    return Trained(pronounce, model, training_s=training_s)


def g2p_en(_words: Words, _work: Path) -> Trained:
    """The network of g2p-en as it comes. Its authors trained it on the dictionary that the test words are from."""
    command: list[str | Path] = [environments.python("g2p"), ROOT / "benchmarks" / "g2p_network.py"]
    (model,) = environments.directory("g2p").glob("lib/python*/site-packages/g2p_en/checkpoint20.npz")
    return Trained(lambda words: _output(command, words), model, saw_test_words=True)


def ours(_words: Words, _work: Path, width: int = 0) -> Trained:
    """The bundle that is served, on one thread, in batches of similar lengths; by a beam if it has a width."""
    versions = sorted(BUNDLES.glob("[0-9]*"), key=lambda path: int(path.name))
    if not versions:
        raise CannotPrepare(f"there is no bundle under {BUNDLES}; examples/pronunciation/README.md says how it is made")
    loaded = bundle.read(versions[-1])
    problem = loaded.manifest.problem
    network = onnx.load_parts(loaded) if width else onnx.load(loaded)

    def written(sources: IdArray) -> IdArray:
        if isinstance(network, Autoregressive):
            return network.beam(sources, width)[0][:, 0]
        return network.greedy(sources).ids

    def pronounce(words: Sequence[str]) -> list[str]:
        order = sorted(range(len(words)), key=lambda place: len(words[place]))
        answers = [""] * len(words)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            ids = written(problem.encode([problem.parse(words[place]) for place in places]))
            for place, symbols in zip(places, problem.decode(ids), strict=True):
                answers[place] = problem.render(symbols)
        return answers

    return Trained(pronounce, versions[-1] / "greedy.onnx", training_s=loaded.manifest.training["seconds"])


CONTENDERS: dict[str, Callable[[Words, Path], Trained]] = {
    "ours": ours,
    "ours, beam of 5": partial(ours, width=5),
    "Phonetisaurus": phonetisaurus,
    "g2p-en": g2p_en,
}


def run(*, rounds: int) -> dict[str, Any]:
    """Train every contender once and measure its speed `rounds` times. All figures as plain data."""
    parts = make_pairs.split()
    rows = []
    for name, train in CONTENDERS.items():
        with tempfile.TemporaryDirectory() as work:
            row = measure(train(parts["train"], Path(work)), parts["test"], rounds)
        rows.append({"contender": name, **row})
        sys.stderr.write(f"  {rows[-1]}\n")
    return {
        "benchmark": "pronunciation",
        "machine": machine.describe(),
        "settings": {"rounds": rounds, "words": len(parts["test"]), "resamples": scoring.RESAMPLES},
        "rows": rows,
    }


def measure(trained: Trained, test: Words, rounds: int) -> dict[str, Any]:
    """The errors and the speed of one contender. The time to load a model does not count."""
    words = list(test)
    rates = []
    for _ in range(rounds):
        _, to_start = _timed(trained, words[:1])
        answers, seconds = _timed(trained, words)
        rates.append((len(words) - 1) / (seconds - to_start))
    wrong, length = errors([re.sub(r"\d", "", answer) for answer in answers], test)
    return {
        "words_wrong": share(wrong > 0, np.ones_like(wrong)),
        "phonemes_wrong": share(wrong, length),
        "saw_test_words": trained.saw_test_words,
        "training_s": trained.training_s and significant(trained.training_s),
        "words_per_second": Spread.of(rates).as_data(),
        "model_mb": significant(trained.model.stat().st_size / 1e6),
    }


def _timed(trained: Trained, words: Sequence[str]) -> tuple[list[str], float]:
    start = time.perf_counter()
    return trained.pronounce(words), time.perf_counter() - start


def errors(answers: Sequence[str], test: Words) -> tuple[Counts, Counts]:
    """For each word, how many edits its answer is away from the nearest pronunciation, and the length of that one."""
    nearest = [
        min((scoring.distance(answer.split(), sounds.split()), len(sounds.split())) for sounds in pronunciations)
        for answer, pronunciations in zip(answers, test.values(), strict=True)
    ]
    wrong, length = np.array(nearest).T
    return wrong, length


def share(wrong: npt.NDArray[Any], of: Counts) -> dict[str, float]:
    """The share that is wrong, and the bounds of its 95% interval."""
    low, high = scoring.interval(wrong, of)
    return {"share": significant(wrong.sum() / of.sum()), "low": significant(low), "high": significant(high)}


def _output(command: Sequence[str | Path], words: Sequence[str] = ()) -> list[str]:
    """The lines that a program writes, which reads words from stdin and has one thread. Raises `CannotPrepare`."""
    result = subprocess.run(
        command,
        input="".join(f"{word}\n" for word in words),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    if result.returncode:
        raise CannotPrepare(f"{' '.join(map(str, command))} failed: {result.stderr.strip()[-500:]}")
    return result.stdout.splitlines()


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {
            "contender": row["contender"],
            "words wrong": _percent(row["words_wrong"]),
            "phonemes wrong": _percent(row["phonemes_wrong"]),
            "saw test words": "yes" if row["saw_test_words"] else "no",
            "training s": row["training_s"],
            "words/s": row["words_per_second"]["median"],
            "least": row["words_per_second"]["min"],
            "most": row["words_per_second"]["max"],
            "model MB": row["model_mb"],
        }
        for row in data["rows"]
    ]


def _percent(share: Mapping[str, float]) -> str:
    return f"{share['share']:.2%} ({share['low']:.2%} to {share['high']:.2%})"
