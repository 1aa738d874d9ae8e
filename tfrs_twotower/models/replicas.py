"""A batch that several devices share.

Under a `tf.distribute` strategy a training step runs once on every replica, each with some rows of the batch. But
candidates, draws, counts, queues and the loss are those of the whole batch, so that many devices train the same
model as one. With one replica, all functions here are the identity.
"""

from collections.abc import Callable

import tensorflow as tf


def count() -> int:
    """The number of replicas that share the batch: an int. It is 1 outside of a step, as when weights are made."""
    return 1 if tf.distribute.in_cross_replica_context() else tf.distribute.get_strategy().num_replicas_in_sync


def gather(values: tf.Tensor) -> tf.Tensor:
    """[rows of all replicas, ...]: the rows of all replicas, in the order of the replicas.

    The gradients of all replicas go back to the replica that owns the row, and are summed there.

    Args:
      values: a tensor [rows, ...].
    """
    if count() == 1:
        return values
    # The identity puts it on this device; a tensor of the input pipeline may be on none, which TensorFlow refuses.
    return tf.distribute.get_replica_context().all_gather(tf.identity(values), axis=0)


def total(value: tf.Tensor) -> tf.Tensor:
    """The sum of all replicas' values."""
    if count() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


class SharedBatch:
    """Where this replica's rows are in the batch of all replicas.

    Args:
      rows: int32 scalar, the number of this replica's rows.
      places: int32 [rows], the place of each in the batch; None: the rows of the replicas follow each other.

    Attributes:
      size: int32 scalar, rows of the batch.
      places: int32 [rows].
    """

    def __init__(self, rows: tf.Tensor, places: tf.Tensor | None) -> None:
        self._rows, self._first, self.size, self._all = rows, 0, rows, None
        if count() > 1:
            sizes = gather(rows[tf.newaxis])
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            self._first, self.size = tf.reduce_sum(sizes[:number]), tf.reduce_sum(sizes)
        if places is not None:
            self._all = gather(places)
        self.places = self._first + tf.range(rows) if places is None else places

    def gathered(self, values: tf.Tensor) -> tf.Tensor:
        """[size, ...]: the rows of all replicas in the order of the batch. See `gather`."""
        values = gather(values)
        return values if self._all is None else _taken(values, tf.argsort(self._all))

    def own_first(self, values: tf.Tensor, others: bool) -> tf.Tensor:
        """The rows of the batch in another order: this replica's, then those of the others, or none if not `others`.

        values: [size or more, ...]; what follows the batch stays behind it.
        """
        if count() == 1:
            return values
        order = tf.roll(tf.range(self.size) if self._all is None else self._all, -self._first, axis=0)
        own = _taken(values[:self.size], order if others else order[:self._rows])
        return tf.concat([own, values[self.size:]], axis=0)


@tf.custom_gradient
def _taken(values: tf.Tensor, order: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """`tf.gather` of distinct rows, without sparse slices as gradient, which that of `all_gather` refuses."""
    shape = tf.shape(values)
    return tf.gather(values, order), lambda upstream: (tf.scatter_nd(order[:, tf.newaxis], upstream, shape), None)


def share(weight: tf.Tensor) -> float | tf.Tensor:
    """The share of this replica's rows in the weight of the whole batch: a float32 scalar.

    A weighted mean over the whole batch is the sum over the replicas of share · weighted mean of their rows.

    Args:
      weight: float32 [rows].
    """
    if count() == 1:
        return 1.0
    mine = tf.reduce_sum(tf.cast(weight, tf.float32))
    return tf.math.divide_no_nan(mine, total(mine))
