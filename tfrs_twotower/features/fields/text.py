"""A text as the mean of its tokens' vectors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.fields.pooling import fixed_width, gather_present, pool_mean
from tfrs_twotower.features.kinds import Text
from tfrs_twotower.features.lookup import fingerprints, grown, keras_lookup, learn_keys, lookup_of, lookup_state
from tfrs_twotower.features.tensors import flat, to_tensor

_SPEC = tf.TensorSpec([None], tf.string)
_BATCH = 8192  # Texts that `adapt` splits at a time, which bounds its memory.


@tf.keras.utils.register_keras_serializable("tfrs_twotower")
def words(texts: tf.Tensor) -> tf.RaggedTensor:
    """string [batch] → ragged string [batch, tokens]: lower case, split at all but letters, marks and digits."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    return tf.strings.split(tf.strings.regex_replace(lower, r"[^\p{L}\p{M}\p{N}]+", " "))


@tf.keras.utils.register_keras_serializable("tfrs_twotower")
def characters(texts: tf.Tensor) -> tf.RaggedTensor:
    """The letters of `words`."""
    return tf.strings.unicode_split(tf.strings.reduce_join(words(texts), axis=-1), "UTF-8")


@tf.keras.utils.register_keras_serializable("tfrs_twotower")
def trigrams(texts: tf.Tensor) -> tf.RaggedTensor:
    """The trigrams of `words`, with marks around each word: cat → #ca cat at#."""
    found = words(texts)
    marked = tf.strings.join(["#", found.flat_values, "#"])
    of_word = tf.strings.ngrams(tf.strings.unicode_split(marked, "UTF-8"), 3, separator="")
    return found.with_flat_values(of_word).merge_dims(1, 2)


_SPLIT = {"words": words, "characters": characters, "trigrams": trigrams}


@layer_of(Text)
class TextField(Field):
    """Field of `schema.Text`. Encoded: {"index": int32 [batch, length]}, −1 at padding."""

    feature: Text
    vocabulary: tf.keras.layers.Layer

    def __init__(self, feature: Text, seed: int = 0) -> None:
        super().__init__(feature, seed)
        split = _SPLIT[feature.analyser]
        self.vectorization = tf.keras.layers.TextVectorization(standardize=None, split=split, output_mode=None)

    @property
    def size(self) -> int:
        """The number of learned tokens."""
        return self.vocabulary.vocabulary_size() - 1

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {self.feature.column: _SPEC}

    def adapt(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        name = self.feature.column
        column, counted = flat(columns[name]), []
        for start in range(0, max(len(column), 1), _BATCH):
            split = self.vectorization(to_tensor(column[start:start + _BATCH], _SPEC, name))
            tokens = pa.array(split.flat_values.numpy(), pa.large_binary()).cast(pa.large_string())
            weights = np.repeat(counts[start:start + _BATCH], split.row_lengths().numpy())
            table = pa.table({"token": tokens, "count": weights})
            counted.append(table.group_by("token").aggregate([("count", "sum")]))
        table = pa.concat_tables(counted)
        codes = fingerprints(tf.constant(table["token"].to_numpy())).numpy()  # ties are in their order
        learned = learn_keys(pa.array(codes), table["count_sum"].to_numpy(), limit=self.feature.max_tokens)
        self.vocabulary = keras_lookup(table["token"].take(pc.index_in(learned, pa.array(codes))))

    def grow(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], counts: np.ndarray) -> None:
        """See `Field.grow`; not beyond `max_tokens`."""
        known = self.vocabulary
        self.adapt(columns, counts)
        self.vocabulary = grown(known, self.vocabulary, self.feature.max_tokens)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        tokens = self.vectorization(raw[self.feature.column])
        # Tokens that were not learned are left out, so the table has no row for them.
        index = tokens.with_flat_values(tf.cast(self.vocabulary(tokens.flat_values), tf.int32) - 1)
        return {"index": fixed_width(index.to_tensor(-1), self.feature.length)}

    def build(self, input_shape: Mapping[str, tf.TensorShape] | None) -> None:
        self._embedding = self.new_embedding(max(self.size, 1), self.feature.dim)
        self.embeddings = self._embedding.embeddings  # the names in checkpoints
        super().build(input_shape)

    def call(self, encoded: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        index = encoded["index"]
        places, vectors = gather_present(self._embedding, index)
        return pool_mean(vectors, places, tf.shape(index)[0])

    def state(self) -> dict[str, np.ndarray]:
        return lookup_state(self.vocabulary)

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.vocabulary = lookup_of(state)
