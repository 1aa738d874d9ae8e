"""Parallel towers: several encoders over the same fields, their products summed by learned weights."""

from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import derive_seed
from tfrs_twotower.towers.dcn import DCN
from tfrs_twotower.towers.encoder import Encoder, VectorEncoder, build_encoder, check_encoder
from tfrs_twotower.towers.fm import FMCandidate, FMQuery
from tfrs_twotower.towers.mlp import MLP


class _Parallel(Encoder):
    branches: tuple[Any, ...]

    def __post_init__(self) -> None:
        where = f"{type(self).__name__}.branches"
        if not self.branches:
            raise ConfigError(invalid(where, "name an encoder", self.branches, "For example (MLP(), DCN())."))
        for branch in self.branches:
            check_encoder(branch, self.side, where)


@config
class ParallelQuery(_Parallel):
    """The query's half of parallel towers (MLP ∥ DCN ∥ FM ∥ CIN, as in QQ Browser's retrieval).

    Attributes:
      branches: configurations of the encoders. `ParallelCandidate` has as many, in the same order.
    """

    side: ClassVar[str] = "query"
    branches: tuple[Any, ...] = (MLP(), DCN(), FMQuery())


@config
class ParallelCandidate(_Parallel):
    """The candidate's half of parallel towers; see `ParallelQuery`."""

    side: ClassVar[str] = "candidate"
    branches: tuple[Any, ...] = (MLP(), DCN(), FMCandidate())


@layer_of(ParallelQuery, ParallelCandidate)
class ParallelEncoder(VectorEncoder):
    """Encoder of `ParallelQuery` and `ParallelCandidate`: u = w ⊙ [u₁, u₂, …] and v = [v₁, v₂, …].

    So ⟨u, v⟩ = Σ_b ⟨w_b, u_b ⊙ v_b⟩, with one learned weight for each dimension of each branch; the weights start at 1.
    QQ Browser's linear layer over the products of all branches does the same. One index searches the vectors. Each
    branch gets an equal part of `dim`. A branch that is no `VectorEncoder` ends like a tower: with a projection, and
    length 1.

    Args:
      settings: a `ParallelQuery` or `ParallelCandidate`.
      seed: of the branches.
      dim: length of the vector, a multiple of the number of branches.
    """

    def __init__(self, settings: ParallelQuery | ParallelCandidate, seed: int = 0, dim: int = 64) -> None:
        super().__init__(name="parallel")
        count = len(settings.branches)
        if dim % count:
            raise ConfigError(invalid("dim", f"be a multiple of the {count} branches", dim, "Each gets an equal part."))
        self._branches = [
            _Branch(branch, derive_seed(seed, f"branch/{number}"), dim // count, f"branch_{number}")
            for number, branch in enumerate(settings.branches)
        ]
        self.branch_weights = None
        if settings.side == "query":
            self.branch_weights = self.add_weight("branch_weights", (dim,), initializer="ones")

    def vectors(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """list of [batch, dᵢ], one for each field → list of [batch, dim / branches], one for each branch."""
        return [branch(embeddings, training=training) for branch in self._branches]

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """list of [batch, dᵢ], one for each field → [batch, dim]."""
        vectors = tf.concat(self.vectors(embeddings, training), axis=-1)
        return vectors if self.branch_weights is None else self.branch_weights * vectors


class _Branch(tf.keras.layers.Layer):
    def __init__(self, settings: Encoder, seed: int, dim: int, name: str) -> None:
        super().__init__(name=name)
        self._encoder, self._project = build_encoder(settings, seed, dim), None
        if not isinstance(self._encoder, VectorEncoder):
            glorot = tf.keras.initializers.GlorotUniform(seed=derive_seed(seed, "projection"))
            self._project = tf.keras.layers.Dense(dim, use_bias=False, kernel_initializer=glorot, name="projection")

    def call(self, embeddings: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        values = self._encoder(embeddings, training=training)
        if self._project is None:
            return values
        return tf.math.l2_normalize(self._project(values), axis=-1)
