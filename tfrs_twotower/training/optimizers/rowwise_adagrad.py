"""Adagrad with one accumulator per embedding row."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.training.optimizers.sparse import SparseRows


@tf.keras.utils.register_keras_serializable("tfrs_twotower")
class RowWiseAdagrad(SparseRows, tf.keras.optimizers.Optimizer):
    """Adagrad (Duchi et al. 2011) with one accumulator for a whole embedding row (as in FBGEMM).

        a ← a + mean(g²) over the row,    row ← row − lr · g / √(a + ε)

    A table of dim 32 needs 1/32 of its own size as optimizer state; Adam needs twice its size. It is the rule
    for variables of two or more dimensions whose gradient is sparse (`tf.IndexedSlices`); all others get
    plain Adagrad, one accumulator per weight, as Keras computes it. Untouched rows do not change.

    Only gradients show which variables these are. So the first `apply_gradients` makes the accumulators, and
    `build` alone makes none. A checkpoint that is restored before is read when they are made.

    ε and the start value are almost 0 by default, as the gradients of a mean loss are small. With Keras' 0.1,
    the first thousands of steps would have a rate that does not depend on the gradients.
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 0.05,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-10,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "RowWiseAdagrad",
    ) -> None:
        """Arguments as Keras' Adagrad, with other defaults."""
        super().__init__(
            name=name,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            jit_compile=False,
        )
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon
        self._row_wise: frozenset[str] | None = None

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[tf.Tensor | tf.IndexedSlices | None, tf.Variable]], *args: Any,
        **kwargs: Any,
    ) -> tf.Variable:
        """As Keras; the first call decides which variables are row-wise."""
        grads_and_vars = list(grads_and_vars)
        if self._row_wise is None:
            self._row_wise = frozenset(
                self._var_key(variable)
                for gradient, variable in grads_and_vars
                if isinstance(gradient, tf.IndexedSlices) and variable.shape.rank > 1
            )
        return super().apply_gradients(grads_and_vars, *args, **kwargs)

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Makes the accumulators, once gradients have shown which variables are row-wise."""
        if self._row_wise is None:
            return
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._accumulators = []
        for variable in var_list:
            shape = variable.shape[:1] if self._var_key(variable) in self._row_wise else variable.shape
            start = tf.fill(shape, tf.cast(self.initial_accumulator_value, variable.dtype))
            self._accumulators.append(
                self.add_variable_from_reference(variable, "accumulator", initial_value=start)
            )

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """One step of one variable. gradient: a tensor, or `tf.IndexedSlices` without duplicates."""
        rate = tf.cast(self.learning_rate, variable.dtype)
        accumulator = self._accumulators[self._index_dict[self._var_key(variable)]]
        sparse = isinstance(gradient, tf.IndexedSlices)
        values = gradient.values if sparse else gradient
        square = tf.square(values)
        if accumulator.shape.rank < variable.shape.rank:
            square = tf.reduce_mean(square, axis=range(1, variable.shape.rank))
        if sparse:
            rows = gradient.indices
            accumulator.scatter_add(tf.IndexedSlices(square, rows))
            total = tf.gather(accumulator, rows)
        else:
            rows = None
            total = accumulator.assign_add(square)
        scale = rate * tf.math.rsqrt(total + self.epsilon)
        missing = variable.shape.rank - accumulator.shape.rank
        scale = tf.reshape(scale, tf.concat([tf.shape(scale), [1] * missing], axis=0))
        self._descend(variable, values * scale, rows)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        for name in ("use_ema", "ema_momentum", "ema_overwrite_frequency", "jit_compile",
                     "is_legacy_optimizer"):
            del config[name]
        return {
            **config,
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
        }
