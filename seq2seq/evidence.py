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


@dataclass(frozen=True)
class ErrorRates:
    """What is known of a network from sources that it was never trained on: no proof, but an honest rate.

    tested                how many sources were asked, and wrong: how many were answered wrongly
    symbols               of the nearest right answers, and symbol_errors: to be inserted, deleted or replaced
    wrong_interval        of the share of wrong answers, at 95%, by a bootstrap over the sources
    symbol_interval       the same of the share of wrong symbols
    temperature           divides the logits, so that confidence fits the share of right answers (Guo et al., 2017)
    calibration_error     expected, of the confidence; uncalibrated_error: the same before
    reliability           a row for each bin of confidence: how many answers, their mean confidence, the share right
    batch_sizes           in which each source was asked, all with the same answer
    pairs                 SHA-256 of the tested pairs, normalised and sorted
    graph                 SHA-256 of the served graph
    """

    tested: int
    wrong: int
    symbols: int
    symbol_errors: int
    wrong_interval: tuple[float, float]
    symbol_interval: tuple[float, float]
    temperature: float
    calibration_error: float
    uncalibrated_error: float
    reliability: tuple[tuple[int, float, float], ...]
    batch_sizes: tuple[int, ...]
    pairs: str
    graph: str
    runtime: str

    def as_data(self) -> dict[str, Any]:
        """The rates as plain data, their sentence included."""
        return {**asdict(self), "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """The rates in one sentence."""
        low, high = self.wrong_interval
        symbols = self.symbol_errors / self.symbols
        return (
            f"Not proven: of {self.tested:,} sources that were never trained on, {self.wrong:,} were answered wrongly,"
            f" {self.wrong / self.tested:.2%} ({low:.2%} to {high:.2%} at 95%), and {symbols:.2%} of the symbols;"
            f" confidence is off by {self.calibration_error:.1%} in the mean; the graph {self.graph} on {self.runtime}."
        )


Evidence = Proof | ErrorRates

UNKNOWN = Proof(0, 0, 0, 0, 0, 0, 0, 0.0, None, 0.0, 0.0, (1,), "", "")
"""Stands in a manifest's draft until there is a proof."""
