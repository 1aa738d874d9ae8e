"""Factorisation machine (Rendle 2010) as two towers: the inner product is the score over all fields of both."""

from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import derive_seed
from tfrs_twotower.towers.encoder import Encoder, VectorEncoder


@config
class FMQuery(Encoder):
    """The query's fields of a factorisation machine. The candidate's are `FMCandidate`."""

    side: ClassVar[str] = "query"


@config
class FMCandidate(Encoder):
    """The candidate's fields of a factorisation machine. The query's are `FMQuery`."""

    side: ClassVar[str] = "candidate"


@layer_of(FMQuery, FMCandidate)
class FMEncoder(VectorEncoder):
    """Encoder of `FMQuery` and `FMCandidate`: u = [Σ e, a, 1] and v = [Σ e, 1, a].

    Each field f becomes a factor e_f, dim − 2 numbers, and a first-order term l_f, by one linear map of its embedding.
    Of one tower, a = Σ_f l_f + Σ_{f<g} ⟨e_f, e_g⟩ = Σ_f l_f + ½(‖Σ_f e_f‖² − Σ_f ‖e_f‖²). So

        ⟨u, v⟩ = Σ_f l_f + Σ_{f<g} ⟨e_f, e_g⟩ over the fields of both towers,

    the factorisation machine without its constant, which changes no ranking. a_u is the same for all candidates of a
    query, so it changes no ranking either; but losses that depend on the score's level need it.

    Args:
      settings: an `FMQuery` or `FMCandidate`.
      seed: of the weights.
      dim: length of the vector, at least 3.
    """

    def __init__(self, settings: FMQuery | FMCandidate, seed: int = 0, dim: int = 64) -> None:
        super().__init__(name="fm")
        if dim < 3:
            raise ConfigError(invalid("dim", "be at least 3 for a factorisation machine", dim, "Raise it."))
        self._query, self._seed, self._factors = settings.side == "query", seed, dim - 2

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """input_shape: of each field's embedding."""
        self._kernels = []
        for number, shape in enumerate(input_shape):
            glorot = tf.keras.initializers.GlorotUniform(seed=derive_seed(self._seed, f"fm/{number}"))
            self._kernels.append(
                self.add_weight(f"kernel_{number}", (shape[-1], self._factors + 1), initializer=glorot)
            )
        super().build(input_shape)

    def terms(self, embeddings: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """(e [batch, fields, dim − 2], l [batch, fields])."""
        mapped = tf.stack([e @ kernel for e, kernel in zip(embeddings, self._kernels)], axis=1)
        return mapped[..., :-1], mapped[..., -1]

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """list of [batch, dᵢ], one for each field → [batch, dim]."""
        factors, first_order = self.terms(embeddings)
        total = tf.reduce_sum(factors, axis=1)
        pairs = 0.5 * (tf.reduce_sum(total**2, axis=1) - tf.reduce_sum(factors**2, axis=[1, 2]))
        own = tf.reduce_sum(first_order, axis=1) + pairs
        last = [own, tf.ones_like(own)] if self._query else [tf.ones_like(own), own]
        return tf.concat([total, tf.stack(last, axis=1)], axis=1)
