"""What is known of a network's answers, as a bundle's manifest says it. Knows nothing of how it was found out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SAFETY = 10
"""The least margin must be this many times what rounding was seen to change."""


@dataclass(frozen=True)
class Proof:
    """What is known of a network over all requests.

    domain              how many requests there are
    by_enumeration      how many were decided one by one, and by_bounds: in boxes of many
    tried               how many were run where there is no proof
    wrong               answers that are wrong; held_out and held_out_wrong: of problems never trained on
    least_margin        of a true symbol's logit over the others', over all that was decided or tried
    weakest             the request with the least margin that was found, and weakest_margin: that margin
    largest_difference  between the logits of the served graph and exact ones
    graph               SHA-256 of the served graph
    """

    domain: int
    by_enumeration: int
    by_bounds: int
    tried: int
    wrong: int
    held_out: int
    held_out_wrong: int
    least_margin: float
    weakest: Any
    weakest_margin: float
    largest_difference: float
    batch_sizes: tuple[int, ...]
    graph: str
    runtime: str

    @property
    def is_exact(self) -> bool:
        """Whether every request is proven right, with a margin far above what rounding can change."""
        decided = self.by_enumeration + self.by_bounds
        return not self.wrong and decided == self.domain and self.least_margin > SAFETY * self.largest_difference

    def as_data(self) -> dict[str, Any]:
        """The proof as plain data, its sentence included."""
        return {**asdict(self), "batch_sizes": list(self.batch_sizes), "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """The proof in one sentence."""
        *smaller, largest = (f"{size:,}" for size in self.batch_sizes)
        sizes = f"{', '.join(smaller)} and {largest}" if smaller else largest
        measured = (
            f"the graph {self.graph} on {self.runtime} in batches of {sizes} gives logits within"
            f" {self.largest_difference:.1e} of exact ones"
        )
        if self.tried:
            return (
                f"Not proven: of {self.domain:,} requests {self.tried:,} were tried, {self.wrong:,} of them wrong, with"
                f" a least margin of {self.least_margin:.2f} logits; {measured}."
            )
        return (
            f"All {self.domain:,} requests were decided, {self.by_enumeration:,} one by one and {self.by_bounds:,} by"
            f" bounds, {self.wrong:,} wrong, with a least margin of {self.least_margin:.2f} logits; {measured}."
        )


UNKNOWN = Proof(0, 0, 0, 0, 0, 0, 0, 0.0, None, 0.0, 0.0, (1,), "", "")
"""Stands in a manifest's draft until there is a proof."""
