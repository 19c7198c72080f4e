"""The tutorials' networks in PyTorch, for some steps: `-m benchmarks.trial_torch sums|lists SEED`.

Runs in an environment of its own. Prints a line of JSON, as trial.py does: examples a second in batches as large as our
sustained runs have, on batches made before, so that only the steps are timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise
from statistics import median

import torch
from torch import nn

from benchmarks.networks import LISTS, SUMS, Sizes
from benchmarks.trial import SUSTAINED_BATCH, SUSTAINED_EPOCHS, SUSTAINED_STEPS


class Sums(nn.Module):  # type: ignore[misc]
    """one-hot source (B, S, V) → logits (B, T, V), by a repeat vector."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = nn.LSTM(sizes.symbols, sizes.encoder, batch_first=True)
        self.decoder = nn.LSTM(sizes.encoder, sizes.decoder, batch_first=True)
        self.logits = nn.Linear(sizes.decoder, sizes.symbols)
        self.writes = sizes.writes

    def forward(self, source: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        _, (last, _) = self.encoder(source)
        x, _ = self.decoder(last[0][:, None].expand(-1, self.writes, -1))
        return self.logits(x)


class Lists(nn.Module):  # type: ignore[misc]
    """one-hot source (B, S, V), shifted target (B, T, V) → logits (B, T, V), by teacher forcing."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = nn.LSTM(sizes.symbols, sizes.encoder, batch_first=True)
        self.decoder = nn.LSTM(sizes.symbols, sizes.decoder, batch_first=True)
        self.logits = nn.Linear(sizes.decoder, sizes.symbols)

    def forward(self, source: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(source)
        x, _ = self.decoder(shifted, state)
        return self.logits(x)


def sustained(problem: str, seed: int) -> dict[str, float]:
    """Examples a second, the median of as many stretches as ours have."""
    torch.manual_seed(seed)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network, sizes = (Sums(SUMS), SUMS) if problem == "sums" else (Lists(LISTS), LISTS)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    loss = nn.CrossEntropyLoss()
    batches = []
    for _ in range(SUSTAINED_STEPS):
        ids = torch.randint(sizes.symbols, (SUSTAINED_BATCH, sizes.reads))
        target = torch.randint(sizes.symbols, (SUSTAINED_BATCH, sizes.writes))
        shifted = nn.functional.pad(target[:, :-1], (1, 0))
        batches.append((ids, shifted, target))

    def one_hot(ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(ids, sizes.symbols).float()

    ends = []
    for _ in range(SUSTAINED_EPOCHS):
        for source, shifted, target in batches:
            optimizer.zero_grad()
            loss(network(one_hot(source), one_hot(shifted)).flatten(0, 1), target.flatten()).backward()
            optimizer.step()
        ends.append(time.perf_counter())
    seconds = median(later - earlier for earlier, later in pairwise(ends))
    return {"examples_per_second": SUSTAINED_STEPS * SUSTAINED_BATCH / seconds, "batch_size": SUSTAINED_BATCH}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(sustained(sys.argv[1], int(sys.argv[2]))) + "\n")
