"""What the fields of a user's past share: they read the same inputs and the candidate's table."""

import tensorflow as tf

from tfrs_twotower.columns import HISTORY_ITEM_ID, HISTORY_TIMESTAMP, TIMESTAMP
from tfrs_twotower.features.fields.field import Field
from tfrs_twotower.features.vocabulary import is_missing


class PastField(Field):
    """Base of `HistoryField` and `SequenceField`.

    Args:
      items: the `IdField` of the candidate's `item_id`. It learns the vocabulary and owns the table: it
        is adapted, saved and loaded with the candidate tower.
    """

    def __init__(self, feature, items, seed=0):
        super().__init__(feature, seed)
        self.items = items

    @property
    def length(self):
        """How many events are read."""
        return self.feature.length

    def inputs(self):
        specs = {
            HISTORY_ITEM_ID: tf.TensorSpec([None, None], self.items.key_dtype),
            HISTORY_TIMESTAMP: tf.TensorSpec([None, None], tf.int64),
            TIMESTAMP: tf.TensorSpec([None], tf.int64),
        }
        return {name: specs[name] for name in self.columns}

    def adapt(self, columns, counts):
        """Nothing: the vocabulary is the item field's."""

    def encode(self, raw):
        ids, times = raw[HISTORY_ITEM_ID], raw[HISTORY_TIMESTAMP]
        index = tf.where(is_missing(ids), -1, self.items.index(ids))
        return self.encode_rows(index, times, raw.get(TIMESTAMP, tf.zeros(tf.shape(ids)[:1], tf.int64)))

    def encode_rows(self, item_index, history_timestamp, timestamp):
        """The encoded form of a past whose ids are looked up already.

        Args:
          item_index: int32 [batch, any], what the item field encodes an id to, oldest first, padded at
            the end with −1.
          history_timestamp: int64 [batch, any], seconds; 0 or less is a missing time, and of age 0.
          timestamp: int64 [batch], the moment of the request; 0 or less counts as the newest event's.
        """
        raise NotImplementedError

    def build(self, input_shape):
        if not self.items.built:
            self.items.build(None)
        super().build(input_shape)

    def state(self):
        return {}

    def load_state(self, state):
        """Nothing: load the item field's state."""
