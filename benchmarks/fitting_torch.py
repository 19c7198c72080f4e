"""Trains the network of fitting_trial.py in PyTorch, as its users write it. Runs in an environment of its own.

Packed sequences, AdamW with clipped gradients, cross-entropy with label smoothing, dropout at the same places. It
keeps no averaged weights, which ours do.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import torch
from torch import nn

from benchmarks.fitting_trial import words_per_second

EMBEDDING, ENCODER, DECODER = 64, 128, 256
SYMBOLS = (28, 41)
DROPOUT = 0.3


class Network(nn.Module):  # type: ignore[misc]
    """source (B, S), shifted target (B, T) → logits (B, T, V)."""

    def __init__(self) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(SYMBOLS[0], EMBEDDING, padding_idx=0)
        self.target_embedding = nn.Embedding(SYMBOLS[1], EMBEDDING)
        self.encoder = nn.LSTM(EMBEDDING, ENCODER, 2, bidirectional=True, batch_first=True, dropout=DROPOUT)
        self.starts = nn.ModuleList([nn.Linear(2 * ENCODER, DECODER) for _ in "hc"])
        self.decoder = nn.LSTM(EMBEDDING, DECODER, batch_first=True)
        self.score = nn.Linear(DECODER, 2 * ENCODER, bias=False)
        self.combined = nn.Linear(DECODER, DECODER)
        self.combined_memory = nn.Linear(2 * ENCODER, DECODER, bias=False)
        self.logits = nn.Linear(DECODER, SYMBOLS[1])
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, source: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
        embedded = self.drop(self.source_embedding(source))
        lengths = (source > 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        outputs, (last, _) = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True, total_length=source.shape[1])
        memory, end = self.drop(memory), self.drop(torch.cat([last[-2], last[-1]], dim=-1))
        h, c = (torch.tanh(start(end))[None] for start in self.starts)
        x, _ = self.decoder(self.drop(self.target_embedding(shifted)), (h, c))
        x = self.drop(x)
        scores = torch.bmm(self.score(x), memory.transpose(1, 2)).masked_fill((source == 0)[:, None], -1e9)
        each = torch.tanh(self.combined(x)[:, :, None] + self.combined_memory(memory)[:, None])
        logs = self.logits(self.drop(each)).log_softmax(-1)
        return torch.logsumexp(scores.log_softmax(-1)[..., None] + logs, dim=2)


def main(path: str, seconds: float) -> float:
    """Words a second."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    loss = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)
    held = np.load(path)
    batches = [
        tuple(torch.tensor(held[f"{name}_{place}"], dtype=torch.long) for name in ("source", "target"))
        for place in range(len(held.files) // 2)
    ]

    def train(source: torch.Tensor, target: torch.Tensor) -> None:
        shifted = nn.functional.pad(target[:, :-1], (1, 0))
        optimizer.zero_grad()
        loss(network(source, shifted).flatten(0, 1), target.flatten()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return words_per_second(train, batches, seconds)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[2], float(sys.argv[3]))}\n")
