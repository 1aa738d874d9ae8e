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


def in_batch_order(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """The gathered rows in the order of the batch.

    Args:
      values: [rows of all replicas, ...].
      places: int32 [rows of all replicas], the place of each in the batch: a permutation.
    """
    order = tf.argsort(places)

    @tf.custom_gradient
    def ordered(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        # Without sparse slices, which the gradient of `all_gather` refuses.
        return tf.gather(values, order), lambda upstream: tf.gather(upstream, places)

    return ordered(values)


def total(value: tf.Tensor) -> tf.Tensor:
    """The sum of all replicas' values."""
    if count() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def place(rows: tf.Tensor) -> tuple[int | tf.Tensor, tf.Tensor]:
    """(the first row of this replica in the whole batch, rows of the whole batch): int32 scalars.

    Args:
      rows: int32 scalar, the number of this replica's rows.
    """
    if count() == 1:
        return 0, rows
    sizes = gather(rows[tf.newaxis])
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.reduce_sum(sizes[:number]), tf.reduce_sum(sizes)


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
