"""Recipes for pairs: a network sized from the data, and how it is trained. Each choice can be made otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from seq2seq.bundle import NetworkSpec
from seq2seq.decoding import Family
from seq2seq.problems.pairs import Pairs

Precision = Literal["float32", "bfloat16"]
SIZES = ((1_000, 64, 128, 32), (20_000, 96, 192, 48), (10**9, 128, 256, 64))
"""Up to so many pairs: the units of an encoder's direction, of the decoder, and of the embeddings."""
FEWEST_STEPS, MOST_EPOCHS = 3_000, 200
USUAL_EPOCHS = 40
WHOLE_DOMAIN = (32, 64, 16)
"""The same units for a file that is a whole domain, which follows rules: 1,000,000 numbers need no more."""
WHOLE_DOMAIN_STEPS, WHOLE_DOMAIN_EPOCHS = 16_000, 2_000
"""Half of these steps make all numbers and all dates right; the rest widens the margins."""


@dataclass(frozen=True)
class PairsRecipe:
    """One way to train a network on a file of pairs.

    family           how the decoder attends to the encoder's outputs, see networks.py
    encoder_units    of each direction of each layer; decoder_units of each layer
    noise            the share of the symbols told to the decoder that are replaced by random ones
    precision        of the factors of matrix products in training; bfloat16 is faster on CPUs that multiply it
    averaging        the momentum of the averaged weights (Polyak and Juditsky, 1992)
    patience         after so many rounds without gain on validation, training ends
    hold_out         whether the file is a whole domain, of which half is never trained on
    pairs_sha256     of the pairs of the file, normalised and sorted
    """

    name: str
    problem: Pairs
    family: Family = "hard_attention"
    embedding_units: int = 64
    encoder_units: tuple[int, ...] = (128, 128)
    decoder_units: tuple[int, ...] = (256,)
    epochs: int = 40
    batch_size: int = 128
    learning_rate: float = 2e-3
    dropout: float = 0.3
    label_smoothing: float = 0.1
    noise: float = 0.1
    weight_decay: float = 0.05
    averaging: float = 0.9995
    precision: Precision = "float32"
    patience: int = 15
    hold_out: bool = False
    pairs_sha256: str = ""
    seed: int = 1

    ships: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what could only fail later. Raises `ValueError`."""
        for name in ("embedding_units", "epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("encoder_units", "decoder_units"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be 1 or more layers of at least 1 unit, not {getattr(self, name)}")
        for name in ("dropout", "label_smoothing", "noise", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is from 0 to less than 1, not {getattr(self, name)}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError("learning_rate must be above 0, and weight_decay 0 or more")

    @property
    def spec(self) -> NetworkSpec:
        """The network, less the number of its parameters."""
        return NetworkSpec(self.family, self.encoder_units, self.decoder_units, 0, embedding_units=self.embedding_units)

    def as_data(self) -> dict[str, Any]:
        """The recipe as plain data, less its problem, which a manifest holds elsewhere."""
        units = {"encoder_units": list(self.encoder_units), "decoder_units": list(self.decoder_units)}
        return {key: value for key, value in asdict(self).items() if key != "problem"} | units


def sized(name: str, problem: Pairs, pairs: int, *, complete: bool, sha256: str) -> PairsRecipe:
    """A recipe for so many training pairs."""
    batch_size = 32 if pairs <= 2_000 else 128
    steps = -(-pairs // batch_size)
    encoder, decoder, embedding = WHOLE_DOMAIN if complete else next(units for most, *units in SIZES if pairs <= most)
    recipe: dict[str, Any] = {
        "embedding_units": embedding,
        "decoder_units": (decoder,),
        "batch_size": batch_size,
        "pairs_sha256": sha256,
    }
    if complete:
        recipe |= {
            "family": "attention",  # dates and numbers are exact with it; nobody tried them with hard attention
            "encoder_units": (encoder,),
            "epochs": min(WHOLE_DOMAIN_EPOCHS, -(-WHOLE_DOMAIN_STEPS // steps)),
            "learning_rate": 4e-3,
            "dropout": 0.0,
            "label_smoothing": 0.0,
            "noise": 0.0,
            "weight_decay": 0.01,
            "patience": WHOLE_DOMAIN_EPOCHS,
            "hold_out": True,
        }
    else:
        recipe |= {
            "encoder_units": (encoder, encoder),
            "epochs": max(USUAL_EPOCHS, min(MOST_EPOCHS, -(-FEWEST_STEPS // steps))),
        }
    return PairsRecipe(name, problem, **recipe)
