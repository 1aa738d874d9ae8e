"""A ranker that teaches the towers. It reads both sides at once, so no index could search with it."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import SequenceField, derive_seed
from tfrs_twotower.losses import distillation, sampled_softmax
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel
from tfrs_twotower.ranges import Count, Counts, NotNegative, Positive
from tfrs_twotower.sampling import same_item, user_positives
from tfrs_twotower.sampling.draws import Draws
from tfrs_twotower.towers import EnsembleTower, Tower


@config
class Distillation(AuxiliaryLoss):
    """A teacher, trained beside the towers, whose soft labels they learn. Only the towers are served.

    The teacher is an MLP over [u's fields, v's fields, u ⊙ v]. Teacher and towers score the same candidates: the
    row's positive, and items drawn uniformly, which a sampled softmax need not correct. The teacher's own loss
    sends no gradient to the towers.

    Attributes:
      candidates: items drawn for each batch.
      widths: units of the teacher's hidden layers.
      temperature: T of `losses.distillation`, above 0; on top of the scores' own τ.
      weight: of the soft labels in the loss; the teacher's own loss has weight 1.
    """

    candidates: Count = 64
    widths: Counts = (64, 32)
    temperature: Positive = 1.0
    weight: NotNegative = 1.0


@layer_of(Distillation)
class DistillationLoss(tf.keras.layers.Layer):
    """Auxiliary loss of `Distillation`: the teacher's own loss, and the loss of the towers by its soft labels.

    Args:
      settings: a `Distillation`.
      seed: of weights and draws.
    """

    def __init__(self, settings: Distillation, seed: int = 0) -> None:
        super().__init__(name="distillation")
        self._autocast = False  # scores are float32 under mixed precision too
        self._settings = settings
        self.teacher = Teacher(settings.widths, seed)
        self._draws = Draws(derive_seed(seed, "draws"))

    def call(
        self, model: TwoTowerModel, batch: dict[str, Any], queries: tf.Tensor, candidates: tf.Tensor,
        positives: Positives, training: bool = False,
    ) -> tf.Tensor:
        """See `models/auxiliary.py`; queries: [n, dim]."""
        objective = model.objective
        places = self._draws.uniform([self._settings.candidates], 0, tf.size(objective.catalogue), tf.int32)
        drawn = tf.gather(objective.catalogue, places)
        encoded = objective.items.rows(drawn)
        others = model.candidate_tower(encoded, training=training)
        products = tf.cast(_products(queries, candidates, others), tf.float32) / objective.temperature.value()
        student = tf.reduce_sum(products, axis=-1)
        teacher = self.teacher(
            _fields(model.query_tower, batch["query"]), _fields(model.candidate_tower, batch["candidate"]),
            _fields(model.candidate_tower, encoded), tf.stop_gradient(products),
        )
        hidden = tf.logical_or(same_item(drawn, positives.rows), user_positives(drawn, positives.known))
        mask = tf.pad(tf.logical_not(hidden), [[0, 0], [1, 0]], constant_values=True)
        own = sampled_softmax(teacher, mask, positives.weight, tf.zeros_like(positives.rows))
        settings = self._settings
        return own + settings.weight * distillation(student, teacher, settings.temperature, mask, positives.weight)


class Teacher(tf.keras.layers.Layer):
    """An MLP over [u's fields, v's fields, u ⊙ v], for each row's positive and for candidates that all rows share.

    The first layer is a sum of three, so that the parts of a row alone or a candidate alone are computed once.
    """

    def __init__(self, widths: Sequence[int], seed: int = 0) -> None:
        super().__init__(name="teacher")
        first, *rest = widths

        def dense(units: int, name: str, **options: bool | str) -> tf.keras.layers.Dense:
            init = tf.keras.initializers.GlorotUniform(seed=derive_seed(seed, name))
            return tf.keras.layers.Dense(units, kernel_initializer=init, name=name, **options)

        self._of_query, self._of_candidate = dense(first, "query"), dense(first, "candidate", use_bias=False)
        self._of_product = dense(first, "product", use_bias=False)
        self._hidden = [dense(width, f"hidden_{i}", activation="relu") for i, width in enumerate(rest)]
        self._score = dense(1, "score", use_bias=False)

    def call(self, query: tf.Tensor, positive: tf.Tensor, shared: tf.Tensor, products: tf.Tensor) -> tf.Tensor:
        """float32 [n, 1 + c]: scores of each row's positive, then of the shared candidates.

        Args:
          query, positive: [n, any], the fields' embeddings side by side.
          shared: [c, any], of the candidates that all rows share.
          products: [n, 1 + c, dim], u ⊙ v / τ.
        """
        own, others = self._of_candidate(positive)[:, tf.newaxis], self._of_candidate(shared)[tf.newaxis]
        of_candidate = tf.concat([own, tf.tile(others, [tf.shape(own)[0], 1, 1])], axis=1)
        values = tf.nn.relu(self._of_query(query)[:, tf.newaxis] + of_candidate + self._of_product(products))
        for layer in self._hidden:
            values = layer(values)
        return self._score(values)[:, :, 0]


def _products(queries: tf.Tensor, candidates: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """u ⊙ v of each row with its own positive, and with all of `others`: [n, 1 + c, dim]."""
    if queries.shape.rank != 2:
        raise ConfigError("`Distillation` needs one vector per query. Received: several. Leave it out of `auxiliary`.")
    return tf.concat([(queries * candidates)[:, tf.newaxis], queries[:, tf.newaxis] * others[tf.newaxis]], axis=1)


def _fields(tower: Tower | EnsembleTower, encoded: dict[str, Any]) -> tf.Tensor:
    """[n, any]: the embeddings of a tower's fields, without a sequence, and without a gradient."""
    fields = [field for field in tower.fields if not isinstance(field, SequenceField)]
    return tf.stop_gradient(tf.concat([field(encoded[field.name], training=False) for field in fields], axis=-1))
