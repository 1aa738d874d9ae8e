"""The base of optimizers for embedding tables: a step updates only the rows of the batch."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf


class SparseRows:
    """Mix-in for Keras optimizers: a sparse gradient (`tf.IndexedSlices`) changes its own rows alone.

    - Duplicate rows are summed before clipping (Keras sums after), so a norm is that of the true gradient. Under a
      `tf.distribute` strategy they are summed before replicas exchange them, too.
    - Weight decay (decoupled, as in Keras: w ← w − lr·decay·w) changes the rows of the step, not the whole
      table; weights with dense gradients decay as usual.
    """

    # Attributes of the Keras optimizer that it is mixed into.
    weight_decay: Any
    learning_rate: Any
    _use_weight_decay: Any

    def aggregate_gradients(
        self, grads_and_vars: Iterable[tuple[tf.Tensor | tf.IndexedSlices | None, tf.Variable]]
    ) -> list[tuple[tf.Tensor | tf.IndexedSlices | None, tf.Variable]]:
        """As Keras. Each replica first sums its duplicates, so that it sends a row of a table once."""
        grads, variables = zip(*grads_and_vars)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            grads = super()._deduplicate_sparse_grad(grads)  # type: ignore[misc]
        return super().aggregate_gradients(zip(grads, variables))  # type: ignore[misc]

    def _clip_gradients(
        self, grads: Sequence[tf.Tensor | tf.IndexedSlices | None]
    ) -> Sequence[tf.Tensor | tf.IndexedSlices | None]:
        return super()._clip_gradients(super()._deduplicate_sparse_grad(grads))  # type: ignore[misc]

    def _deduplicate_sparse_grad(
        self, grads: Sequence[tf.Tensor | tf.IndexedSlices | None]
    ) -> Sequence[tf.Tensor | tf.IndexedSlices | None]:
        return grads  # done before clipping

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        """Does nothing: Keras would read and write whole tables here. `_descend` decays."""

    def _descend(self, variable: tf.Variable, step: tf.Tensor, rows: tf.Tensor | None = None) -> None:
        """w ← w − lr·decay·w − step, for the given rows, or for all where `rows` is None."""
        decays = bool(self.weight_decay) and self._use_weight_decay(variable)
        if decays:
            rate = tf.cast(self.learning_rate, variable.dtype) * self.weight_decay
            step += rate * (variable if rows is None else tf.gather(variable, rows))
        if rows is None:
            variable.assign_sub(step)
        else:
            variable.scatter_sub(tf.IndexedSlices(step, rows))
