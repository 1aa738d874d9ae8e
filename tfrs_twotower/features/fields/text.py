"""A text as the mean of its tokens' vectors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.pooling import fixed_width, gather_present, pool_mean
from tfrs_twotower.features.kinds import Text
from tfrs_twotower.features.tensors import flat, to_tensor
from tfrs_twotower.features.vocabulary import Vocabulary, fingerprints, learn_keys

_SPEC = tf.TensorSpec([None], tf.string)
_BATCH = 8192  # Texts that `adapt` splits at a time, which bounds its memory.


def tokenise(texts: tf.Tensor, analyser: str) -> tf.RaggedTensor:
    """string [batch] → ragged string [batch, tokens], by the rules of `schema.Text`. Graph code."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    words = tf.strings.split(tf.strings.regex_replace(lower, r"[^\p{L}\p{M}\p{N}]+", " "))
    if analyser == "words":
        return words
    if analyser == "characters":
        return tf.strings.unicode_split(tf.strings.reduce_join(words, axis=-1), "UTF-8")
    marked = tf.strings.join(["#", words.flat_values, "#"])
    trigrams = tf.strings.ngrams(tf.strings.unicode_split(marked, "UTF-8"), 3, separator="")
    return words.with_flat_values(trigrams).merge_dims(1, 2)


@layer_of(Text)
class TextField(Field):
    """Field of `schema.Text`. Encoded: {"index": int32 [batch, length]}, −1 where there is nothing."""

    feature: Text

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: _SPEC}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        name = self.feature.column
        column = flat(columns[name])
        tokens, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for start in range(0, len(column), _BATCH):
            split = tokenise(to_tensor(column[start:start + _BATCH], _SPEC, name), self.feature.analyser)
            tokens.append(fingerprints(split.flat_values).numpy())
            weights.append(np.repeat(counts[start:start + _BATCH], split.row_lengths().numpy()))
        keys = pa.array(np.concatenate(tokens))
        keys = learn_keys(keys, np.concatenate(weights), limit=self.feature.max_tokens)
        self._vocabulary = Vocabulary(keys)

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`; not beyond `max_tokens`."""
        known = self._vocabulary
        self.adapt(columns, counts)
        self._vocabulary = known.grown(self._vocabulary.keys(), self.feature.max_tokens)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        tokens = tokenise(raw[self.feature.column], self.feature.analyser)
        # Tokens that were not learned are left out, so the table has no row for them.
        index = self._vocabulary.lookup(tokens.flat_values) - 1
        padded = tokens.with_flat_values(index).to_tensor(-1)
        return {"index": fixed_width(padded, self.feature.length)}

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self.table = self.embeddings(max(self._vocabulary.size, 1), self.feature.dim)
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        index = encoded["index"]
        places, vectors = gather_present(self.table, index)
        return pool_mean(vectors, places, tf.shape(index)[0])

    def state(self) -> dict[str, np.ndarray]:
        return {"keys": self._vocabulary.keys()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._vocabulary = Vocabulary(state["keys"])
