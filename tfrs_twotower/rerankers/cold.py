"""COLD: a light network on the fields of both sides and their crosses rescores the retrieved top (Wang et al. 2020)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.features import Field, SequenceField
from tfrs_twotower.ranges import Count, Positive
from tfrs_twotower.rerankers.reranker import Reranker, RerankerConfig
from tfrs_twotower.towers import EnsembleTower, Tower
from tfrs_twotower.towers.sequence import dense


@config
class COLD(RerankerConfig):
    """Score ⟨u, v⟩ / τ + MLP(fields, crosses), each field weighed by a squeeze-and-excitation gate.

    A field's embedding e is projected to `dim` numbers and multiplied by its gate, s = σ(W [e₁ … e_M] + b). The
    crosses are the inner products of each query field with each candidate field. The gates' means are reported
    after an evaluation; fields of little weight can then be left out by `features`, which saves time for each
    candidate. (In the paper the network stands alone; here it corrects the retrieval's score.)

    Attributes:
      widths: units of the MLP's layers.
      dim: of a projected field.
      features: names of the fields to read, such as `query/id_user_id`; () reads all. A Sequence has no single
        embedding and is left out.
      top: the number of retrieved candidates to rescore.
      negatives: per row, in training; see `RerankerLoss`.
      weight: of its loss beside the retrieval loss.
    """

    widths: tuple[Count, ...] = (64, 32)
    dim: Count = 16
    features: tuple[str, ...] = ()
    top: Count = 100
    negatives: Count = 20
    weight: Positive = 1.0


@layer_of(COLD)
class COLDReranker(Reranker):
    """Reranker of `COLD`.

    Args:
      settings: a `COLD`.
      query_tower, candidate_tower: their fields are its input, and are trained with it.
      seed: of the weights.
    """

    def __init__(
        self, settings: COLD, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower, seed: int = 0
    ) -> None:
        super().__init__(settings, seed, name="cold")
        fields = {f"query/{f.name}": f for f in query_tower.fields if not isinstance(f, SequenceField)}
        self._query_fields = _chosen(fields, settings.features, "query")
        fields = {f"candidate/{f.name}": f for f in candidate_tower.fields}
        self._candidate_fields = _chosen(fields, settings.features, "candidate")
        self.names = [*self._query_fields, *self._candidate_fields]
        self._project = {name: dense(settings.dim, seed, name.replace("/", "_")) for name in self.names}
        self._gate = dense(len(self.names), seed, "gate", activation="sigmoid")

    def query(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        return self._embed(self._query_fields, encoded, training)

    def candidate(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], vectors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        return self._embed(self._candidate_fields, encoded, training)

    def inputs(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        query, candidates = self._gated(query, candidates)
        crosses = tf.matmul(query, candidates, transpose_b=True)
        flat = tf.shape(crosses)[:2]
        parts = [(query, query.shape[2] * query.shape[3]), (candidates, candidates.shape[2] * candidates.shape[3]),
                 (crosses, query.shape[2] * candidates.shape[2])]
        return tf.concat([tf.reshape(part, [*tf.unstack(flat), width]) for part, width in parts], axis=-1)

    def field_weights(self, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """The gates [batch, m, fields], in the order of `names`."""
        pairs = [tf.shape(candidates)[0], tf.shape(candidates)[1]]
        query = tf.broadcast_to(query[:, tf.newaxis], [*pairs, *query.shape[1:]])
        both = tf.concat([query, candidates], axis=2)
        return self._gate(tf.reshape(both, [*pairs, both.shape[2] * both.shape[3]]))

    def _gated(self, query: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Query fields [batch, m, F, dim] and candidate fields [batch, m, G, dim], each times its gate."""
        count = query.shape[1]
        gates = self.field_weights(query, candidates)[..., tf.newaxis]
        return query[:, tf.newaxis] * gates[:, :, :count], candidates * gates[:, :, count:]

    def _embed(
        self, fields: Mapping[str, Field], encoded: Mapping[str, Mapping[str, tf.Tensor]], training: bool
    ) -> tf.Tensor:
        """[batch, fields, dim]."""
        parts = [self._project[name](field(encoded[field.name], training=training)) for name, field in fields.items()]
        return tf.stack(parts, axis=1)


def _chosen(fields: dict[str, Field], features: Sequence[str], side: str) -> dict[str, Field]:
    """The fields in `features`, or all.

    Raises:
      ConfigError: a name is unknown, or no field of this side is named.
    """
    wanted = [name for name in features if name.startswith(f"{side}/")]
    for name in wanted:
        if name not in fields:
            raise ConfigError(f"`COLD.features` names no field: {name!r}." + nearest(name, fields))
    if not features:
        return fields
    if not wanted:
        raise ConfigError(f"`COLD.features` must name a field of the {side}." + nearest(side, fields))
    return {name: fields[name] for name in wanted}
