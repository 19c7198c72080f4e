"""Encoder-decoder LSTMs in Keras, two families: a training model, an inference encoder and an inference decoder.

Knows nothing of data or fitting. The three models of a network share their layers by name, never by position, and
take ids, doing the one-hot encoding inside, so that what crosses a boundary is small and a saved file stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from seq2seq.bundle import NetworkSpec
from seq2seq.problem import Problem


@dataclass(frozen=True)
class Models:
    """The three models of one network, sharing weights.

    training   repeat vector   source (B, S) → logits (B, T, V)
               autoregressive  source (B, S), shifted target (B, T) → logits (B, T, V)
    encoder    source (B, S) → outputs (B, S, H) and states, each (B, H)
    decoder    repeat vector   state (B, H) → probabilities (B, T, V), outputs (B, T, D)
               autoregressive  symbol (B, 1), states → probabilities (B, V), states

    Outputs are those of the last layer. Nothing is decoded from them: they explain an answer.
    """

    training: keras.Model
    encoder: keras.Model
    decoder: keras.Model

    @property
    def parameters(self) -> int:
        return int(self.training.count_params())


def build(problem: Problem, spec: NetworkSpec, *, unroll: bool = False) -> Models:
    """The models of a network for a problem, with fresh weights; `unroll` trades compile time for speed."""
    family = {"repeat_vector": _repeat_vector, "autoregressive": _autoregressive}[spec.family]
    return family(problem, spec, unroll)


def _read(problem: Problem, spec: NetworkSpec) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input `source` (B, S), and what the encoder reads: one-hot vectors (B, S, V), perhaps the last one first."""
    source = keras.Input((problem.source_length,), dtype="int32", name="source")
    in_order = keras.ops.flip(source, axis=1) if spec.reversed_source else source
    return source, keras.ops.one_hot(in_order, len(problem.source_vocabulary))


def _repeat_vector(problem: Problem, spec: NetworkSpec, unroll: bool) -> Models:
    """The encoder's last output, repeated once for each place of the answer, drives the decoder."""
    source, x = _read(problem, spec)
    for depth, units in enumerate(spec.encoder_units):
        x, h, _ = keras.layers.LSTM(
            units, return_sequences=True, return_state=True, unroll=unroll, name=f"encoder_lstm_{depth}"
        )(x)
    encoder = keras.Model(source, [x, h], name="encoder")  # (B, S, H), (B, H)

    state = keras.Input((spec.encoder_units[-1],), name="state_0")  # (B, H)
    x = keras.layers.RepeatVector(problem.target_length, name="repeat")(state)  # (B, T, H)
    for depth, units in enumerate(spec.decoder_units):
        x = keras.layers.LSTM(units, return_sequences=True, unroll=unroll, name=f"decoder_lstm_{depth}")(x)
    logits = keras.layers.Dense(len(problem.target_vocabulary), name="logits")(x)  # (B, T, V)
    to_logits = keras.Model(state, logits)
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    decoder = keras.Model(state, [probabilities, x], name="decoder")

    training = keras.Model(source, to_logits(encoder(source)[1]), name="training")
    return Models(training, encoder, decoder)


def _autoregressive(problem: Problem, spec: NetworkSpec, unroll: bool) -> Models:
    """Teacher forcing in training; at inference the decoder is stepped with the symbol it last chose.

    Each encoder layer's final h and c start the decoder layer of the same depth, so both sides have the same units.
    """
    if spec.encoder_units != spec.decoder_units:
        raise ValueError(
            f"an autoregressive network has the same units a side, not {spec.encoder_units}, {spec.decoder_units}"
        )
    lstms = [
        keras.layers.LSTM(units, return_sequences=True, return_state=True, unroll=unroll, name=f"decoder_lstm_{depth}")
        for depth, units in enumerate(spec.decoder_units)
    ]
    to_logits = keras.layers.Dense(len(problem.target_vocabulary), name="logits")

    source, x = _read(problem, spec)
    states = []
    for depth, units in enumerate(spec.encoder_units):
        x, h, c = keras.layers.LSTM(
            units, return_sequences=True, return_state=True, unroll=unroll, name=f"encoder_lstm_{depth}"
        )(x)
        states += [h, c]
    encoder = keras.Model(source, [x, *states], name="encoder")  # (B, S, H), and h, c of each layer, each (B, H)

    def decode(symbols: keras.KerasTensor, states: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
        x = keras.ops.one_hot(symbols, len(problem.target_vocabulary))  # (B, T, V)
        finals = []
        for depth, lstm in enumerate(lstms):
            x, h, c = lstm(x, initial_state=states[2 * depth : 2 * depth + 2])
            finals += [h, c]
        return [to_logits(x), *finals]

    shifted = keras.Input((problem.target_length,), dtype="int32", name="shifted_target")  # (B, T)
    training = keras.Model([source, shifted], decode(shifted, encoder(source)[1:])[0], name="training")

    symbol = keras.Input((1,), dtype="int32", name="symbol")  # (B, 1)
    inputs = [
        keras.Input((units,), name=f"state_{2 * depth + half}")
        for depth, units in enumerate(spec.decoder_units)
        for half in range(2)
    ]
    logits, *finals = decode(symbol, inputs)  # (B, 1, V), h, c, …
    probabilities = keras.layers.Softmax(name="probabilities")(logits[:, 0])  # (B, V)
    decoder = keras.Model([symbol, *inputs], [probabilities, *finals], name="decoder")
    return Models(training, encoder, decoder)
