"""A process that trains cells: a cell a line on its standard input, its figures a line on its standard output.

The line `shipped` asks for what the models under models/ answer to other lengths.

It ends when its input does, in the middle of a cell if need be, so that nothing is left running.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from seq2seq.bundle import NetworkSpec
from seq2seq.decoding import Network
from seq2seq.problem import Oracle
from seq2seq.proving import running
from seq2seq.runtimes.onnx import Varying
from seq2seq.vocabulary import IdArray
from training import environment
from training.stopping import Diverged
from training.study.cells import Cell

ROUNDS, CALLS = 400, 5
"""One request's time is that of the best round of so few calls that one passes while nothing else has the core."""


def measure(cell: Cell, steps: int) -> dict[str, Any]:
    """Train a cell, then run every request through the graph that would be served."""
    import keras

    from training import fitting, fused, networks
    from training.study import far

    keras.backend.clear_session()
    recipe = cell.recipe(steps)
    started = time.process_time()
    fit = fitting.fit(recipe)
    seconds = time.process_time() - started
    problem = recipe.problem
    network = Varying.of(fused.build(problem, fit.spec, fit.models).SerializeToString())
    run = running.run(problem, network, problem.distinct(np.random.default_rng(0), running.BATCH), hold_out=True)
    lengths = range(cell.task.length, cell.task.length + cell.beyond + 1) if cell.beyond else ()
    longer = partial(cell.task.longer, cell.padding)
    smallest = NetworkSpec("repeat_vector", (4,), (4,), 0)
    reference = fused.build(problem, smallest, networks.build(problem, smallest))
    return {
        "parameters": fit.spec.parameters,
        "samples": fit.samples,
        "domain": problem.domain_size,
        "checked": run.checked,
        "wrong": run.wrong,
        "held_out": run.held_out,
        "held_out_wrong": run.held_out_wrong,
        "relative_time": round(relative_time(problem, network, Varying.of(reference.SerializeToString())), 2),
        "cpu_seconds": round(seconds, 1),
        "lengths": list(far.exactness(longer, lengths, fit.spec, fit.models.training.get_weights())),
        "curve": [round(1 - share, 6) for share in fit.history["val_exact_sequences"]],
    }


def shipped() -> list[dict[str, Any]]:
    """What the models that ship answer to other lengths."""
    from training.study import far

    return list(far.of_shipped())


def relative_time(problem: Oracle, network: Network, reference: Network) -> float:
    """How many times as long as the reference a network takes for one request, both measured in turns."""
    source = problem.sample_sources(np.random.default_rng(0), 1)
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for place, each in enumerate((network, reference)):
            best[place] = min(best[place], _seconds(each, source))
    return best[0] / best[1]


def _seconds(network: Network, source: IdArray) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        network.greedy(source)
    return time.perf_counter() - started


def _lines() -> Iterator[str]:
    """The lines of standard input, read beside the work: the end of the input ends the process at once."""
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def main() -> None:
    """Answer one line after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this closes its input
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    environment.load_keras()
    environment.one_thread_an_operation()
    for line in _lines():
        steps, _, cell = line.partition(" ")
        try:
            found = measure(Cell.from_json(cell), int(steps)) if cell else {"lengths": shipped()}
        except Diverged as error:
            found = {"diverged": str(error)}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
