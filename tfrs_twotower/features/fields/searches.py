"""The words of the user's last searches, pooled."""

from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.columns import SEARCHES
from tfrs_twotower.configuration import layer_of
from tfrs_twotower.features.fields.past import newest
from tfrs_twotower.features.fields.pooling import fixed_width
from tfrs_twotower.features.fields.text import TextField
from tfrs_twotower.features.past import Searches


@layer_of(Searches)
class SearchesField(TextField):
    """Field of `schema.Searches`. Encoded: {"index": int32 [batch, any], the tokens of all searches; −1 at padding}."""

    feature: Searches  # type: ignore[assignment]  # it has what `TextField` reads of a `Text`

    def inputs(self) -> dict[str, tf.TensorSpec]:
        return {SEARCHES: tf.TensorSpec([None, None], tf.string)}

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        texts = raw[SEARCHES]
        (texts,) = newest([(texts, "")], texts == "", self.feature.length)
        index = self.tokens(tf.reshape(texts, [-1]))
        return {"index": tf.reshape(index, [tf.shape(texts)[0], tf.shape(texts)[1] * self.feature.tokens])}

    def tokens(self, texts: tf.Tensor) -> tf.Tensor:
        """int32 [n, Searches.tokens]: the tokens of texts [n], padded with −1."""
        split = self.vectorization(texts)
        index = split.with_flat_values(tf.cast(self.vocabulary(split.flat_values), tf.int32) - 1)
        return fixed_width(index.to_tensor(-1), self.feature.tokens)
