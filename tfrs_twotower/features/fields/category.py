"""One of a small set of values as a row of a table."""

import tensorflow as tf

from tfrs_twotower.config import layer_of
from tfrs_twotower.features.fields.field import RowField
from tfrs_twotower.features.fields.keys import Keys
from tfrs_twotower.features.kinds import Category


@layer_of(Category)
class CategoryField(Keys, RowField):
    """Field of `schema.Category`. Encoded: {"index": int32 [batch]}, 0 for missing and unknown."""

    @property
    def rows(self):
        return 1 + self.size

    def inputs(self):
        return {self.feature.column: tf.TensorSpec([None], self.key_dtype)}

    def adapt(self, columns, counts):
        self.learn(columns, self.feature.column, counts, self.feature.min_count)

    def encode(self, raw):
        return {"index": self.vocabulary.lookup(raw[self.feature.column])}
