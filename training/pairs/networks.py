"""Networks for texts of any length in Keras: a bidirectional encoder, and a decoder that may attend to its outputs.

Knows nothing of data or fitting. At each step the decoder's output is compared with the encoder's output for every
source token, which gives each of them a weight (Luong's general score, 2015). Three families differ in what follows:

hard_attention  each token and the decoder's output together give symbols' probabilities, whose mean is weighted so: it
                is the probability of a symbol if it comes from one token, whichever (Wu et al., 2018)
attention       the mean of the encoder's outputs is weighted so; it and the decoder's output give the logits (Bahdanau
                et al., 2014)
plain           no weights: the decoder's output gives the logits

Padding is masked everywhere, so an answer never depends on what else is in the batch.

B is the batch, S and T are lengths, H and D the units of an encoder's direction and of the decoder, V the vocabulary.
"""

from __future__ import annotations

from functools import cached_property

import keras
from keras import layers, ops

from seq2seq.bundle import Bundle, NetworkSpec
from seq2seq.problem import Problem
from seq2seq.runtimes import keras as keras_runtime
from training.networks import Models

MASKED = -1e9
"""The score of padding, before the softmax makes it 0."""
NEVER = -1e3
"""The bias of padding's logit, which no training moves: no answer holds padding. Larger ones are less exact."""


class Layers:
    """The layers of one network, shared by all the models that are made of them."""

    def __init__(self, problem: Problem, spec: NetworkSpec, *, dropout: float = 0.0):
        sources, targets = len(problem.source_vocabulary), len(problem.target_vocabulary)
        self.spec = spec
        self.source_embedding = layers.Embedding(sources, spec.embedding_units, mask_zero=True, name="source_embedding")
        self.target_embedding = layers.Embedding(targets, spec.embedding_units, name="target_embedding")
        self.encoder = [
            layers.Bidirectional(
                layers.LSTM(units, return_sequences=True, return_state=True),
                name=f"encoder_lstm_{depth}",
            )
            for depth, units in enumerate(spec.encoder_units)
        ]
        self.starts = [
            layers.Dense(units, activation="tanh", name=f"start_{part}_{depth}")
            for depth, units in enumerate(spec.decoder_units)
            for part in "hc"
        ]
        self.decoder = [
            layers.LSTM(units, return_sequences=True, return_state=True, name=f"decoder_lstm_{depth}")
            for depth, units in enumerate(spec.decoder_units)
        ]
        self.score = layers.Dense(2 * spec.encoder_units[-1], use_bias=False, name="score")
        self.combined = layers.Dense(spec.decoder_units[-1], name="combined")
        if spec.family == "hard_attention":  # a layer more would give those after it other weights at the start
            self.combined_memory = layers.Dense(spec.decoder_units[-1], use_bias=False, name="combined_memory")
        bias = keras.initializers.Constant([NEVER, *[0.0] * (targets - 1)])
        self.logits = layers.Dense(targets, bias_initializer=bias, name="logits")
        self.dropout = layers.Dropout(dropout, name="dropout")

    @cached_property
    def training(self) -> keras.Model:
        """source (B, S), shifted target (B, T) → logits (B, T, V), by teacher forcing."""
        source = keras.Input((None,), dtype="int32", name="source")
        shifted = keras.Input((None,), dtype="int32", name="shifted_target")
        memory, states = self._encode(source)
        logits, _, _ = self._decode(shifted, source, memory, states)
        return keras.Model([source, shifted], logits, name="training")

    @cached_property
    def inference(self) -> tuple[keras.Model, keras.Model]:
        """The encoder: source (B, S) → memory (B, S, 2H), h, c, … (B, D).

        And the decoder: symbol (B, 1), source (B, S), memory, states → probabilities (B, V), states. In families that
        attend, the weight of each source token (B, S) comes after the probabilities.
        """
        source = keras.Input((None,), dtype="int32", name="source")
        memory, states = self._encode(source)
        encoder = keras.Model(source, [memory, *states], name="encoder")

        symbol = keras.Input((1,), dtype="int32", name="symbol")
        given = keras.Input((None, 2 * self.spec.encoder_units[-1]), name="memory")
        inputs = [keras.Input((units,), name=f"state_{place}") for place, units in enumerate(self._state_units)]
        logits, finals, scores = self._decode(symbol, source, given, inputs)
        found = [layers.Softmax(name="probabilities")(logits[:, 0])]
        if scores is not None:
            found.append(layers.Softmax(name="attention")(scores[:, 0]))
        return encoder, keras.Model([symbol, source, given, *inputs], [*found, *finals], name="decoder")

    @property
    def _state_units(self) -> list[int]:
        return [units for units in self.spec.decoder_units for _ in "hc"]

    def _encode(self, source: keras.KerasTensor) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
        x = self.dropout(self.source_embedding(source))  # (B, S, E)
        ends: list[keras.KerasTensor] = []
        for layer in self.encoder:
            x, forward, _, backward, _ = layer(x)
            ends = [forward, backward]
            x = self.dropout(x)
        end = self.dropout(layers.Concatenate(name="end")(ends))  # (B, 2H)
        return x, [start(end) for start in self.starts]

    def _decode(
        self,
        symbols: keras.KerasTensor,
        source: keras.KerasTensor,
        memory: keras.KerasTensor,
        states: list[keras.KerasTensor],
    ) -> tuple[keras.KerasTensor, list[keras.KerasTensor], keras.KerasTensor | None]:
        """Logits (B, T, V), the last states, and the attention's scores (B, T, S) where there is one."""
        x = self.dropout(self.target_embedding(symbols))  # (B, T, E)
        finals: list[keras.KerasTensor] = []
        for depth, layer in enumerate(self.decoder):
            x, h, c = layer(x, initial_state=states[2 * depth : 2 * depth + 2])
            finals += [h, c]
            x = self.dropout(x)
        if self.spec.family == "plain":
            return self.logits(x), finals, None
        scores = ops.matmul(self.score(x), ops.transpose(memory, (0, 2, 1)))  # (B, T, S)
        scores = ops.where(ops.equal(source, 0)[:, None], MASKED, scores)
        if self.spec.family == "attention":
            context = ops.matmul(ops.softmax(scores), memory)  # (B, T, 2H)
            x = self.combined(ops.concatenate([x, context], axis=-1))
            return self.logits(self.dropout(ops.tanh(x))), finals, scores
        each = self.combined(x)[:, :, None] + self.combined_memory(memory)[:, None]  # (B, T, S, D)
        logs = ops.log_softmax(self.logits(self.dropout(ops.tanh(each))))  # (B, T, S, V)
        return ops.logsumexp(ops.log_softmax(scores)[..., None] + logs, axis=2), finals, scores


def load(files: Bundle) -> Layers:
    """The layers of a bundle, with its weights."""
    found = Layers(files.manifest.problem, files.manifest.network)
    for name, model in zip(("encoder", "decoder"), found.inference, strict=True):
        saved: keras.Model = keras_runtime.load_model(files, f"{name}.keras")
        model.set_weights(saved.get_weights())
    return found


def build(problem: Problem, spec: NetworkSpec) -> Models:
    """The three models of a network, for sources and targets of any length."""
    made = Layers(problem, spec)
    encoder, decoder = made.inference
    return Models(made.training, encoder, decoder)
