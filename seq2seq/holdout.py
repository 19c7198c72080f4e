"""Which problems are never trained on: half of all distinct ones, chosen by a hash of what the answer depends on.

Knows nothing of any problem but its keys. The choice needs no list and no seed, so every process that asks agrees.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from seq2seq.problem import Keys

Split = Literal["train", "validation", "held_out"]

BUCKETS = 32
VALIDATION = 1
"""One bucket of the trained half's sixteen is set aside to choose checkpoints by."""


def _buckets(keys: Keys) -> npt.NDArray[np.uint64]:
    """Keys (n,) → buckets (n,) from 0 to BUCKETS - 1, by the finaliser of SplitMix64 (Steele et al., 2014)."""
    mixed = keys + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) % np.uint64(BUCKETS)


def in_split(keys: Keys, split: Split) -> npt.NDArray[np.bool_]:
    """Which of the problems with these keys (n,) belong to a split."""
    buckets = _buckets(keys)
    if split == "held_out":
        return buckets < BUCKETS // 2
    if split == "validation":
        return (buckets >= BUCKETS // 2) & (buckets < BUCKETS // 2 + VALIDATION)
    return buckets >= BUCKETS // 2 + VALIDATION
