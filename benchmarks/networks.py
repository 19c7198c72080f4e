"""The tutorials' networks by their sizes, and how many operations training takes for an example. Needs no package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """A network of one layer a side.

    reads, writes  steps of encoder and decoder; symbols: of the vocabulary, which encoder and decoder share
    told           whether the decoder reads symbols, and not the encoder's state
    """

    reads: int
    writes: int
    symbols: int
    encoder: int
    decoder: int
    told: bool

    @property
    def flops(self) -> float:
        """Floating-point operations of matrix products for an example: forward, and both gradients of each product.

        Symbols need no gradient, so theirs are left out. A state that is read at every step counts at every step.
        """
        read = self.reads * self.symbols * 4 * self.encoder
        told = self.writes * (self.symbols if self.told else self.encoder) * 4 * self.decoder
        inner = self.reads * self.encoder * 4 * self.encoder + self.writes * self.decoder * 4 * self.decoder
        inner += self.writes * self.decoder * self.symbols
        if self.told:
            return 2 * (2 * (read + told) + 3 * inner)
        return 2 * (2 * read + 3 * (told + inner))


SUMS = Sizes(reads=8, writes=2, symbols=12, encoder=75, decoder=50, told=False)
LISTS = Sizes(reads=6, writes=3, symbols=51, encoder=128, decoder=128, told=True)
