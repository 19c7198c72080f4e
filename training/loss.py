"""The loss that networks are trained on."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def cross_entropy(targets: Any, logits: Any, margin: float = 0.0) -> Any:
    """Target ids (B, T), logits (B, T, V) → cross-entropy (B, T), the true logits first lowered by `margin`.

    A network that is to bring this near 0 must put each true logit that much higher (additive margin softmax, Wang et
    al., 2018). With a margin of 0 it is the ordinary loss.
    """
    true = ops.one_hot(ops.cast(targets, "int32"), logits.shape[-1])
    return keras.losses.sparse_categorical_crossentropy(targets, logits - margin * true, from_logits=True)
