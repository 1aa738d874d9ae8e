"""The category alignment loss of dual augmented towers (DAT, Yu et al. 2021)."""

import logging
from typing import Any

import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.features import Category, MultiValue
from tfrs_twotower.models import replicas
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel

_log = logging.getLogger(__name__)


@config
class CategoryAlignment(AuxiliaryLoss):
    """Makes the item vectors of rare categories spread like those of the batch's most frequent category.

    Attributes:
      column: of a `Category` or `MultiValue` among the candidate's features; of several values in a cell the first
        counts. None: the first such feature. If there is none, this loss is left out, with a warning.
      weight: of the loss.
    """

    column: str | None = None
    weight: float = 1.0


@layer_of(CategoryAlignment)
class CategoryAlignmentLoss(tf.keras.layers.Layer):
    """Auxiliary loss of `CategoryAlignment`.

    Args:
      settings: a `CategoryAlignment`.
      seed: not used; every auxiliary loss gets one.
    """

    def __init__(self, settings: CategoryAlignment, seed: int = 0) -> None:
        super().__init__(name="category_alignment")
        self._settings, self._warned = settings, False

    def call(
        self, model: TwoTowerModel, batch: dict[str, Any], queries: tf.Tensor, candidates: tf.Tensor,
        positives: Positives, training: bool = False,
    ) -> tf.Tensor:
        """See `models/auxiliary.py`."""
        kinds = {
            f.feature.column: f.name
            for f in model.candidate_tower.fields if isinstance(f.feature, (Category, MultiValue))
        }
        column = self._settings.column
        if column is None and not kinds:
            self._warn()
            return tf.zeros([])
        column = next(iter(kinds)) if column is None else column
        if column not in kinds:
            raise ConfigError(
                f"`CategoryAlignment.column` must name a Category or MultiValue of the candidate. Received: "
                f"column={column!r}." + nearest(column, kinds)
            )
        index = batch["candidate"][kinds[column]]["index"]
        category = index[:, 0] if index.shape.rank == 2 else index - 1  # −1 is no category
        # A category spreads over the whole batch, so all replicas compare all of it.
        return self._settings.weight * category_alignment(replicas.gather(candidates), replicas.gather(category))

    def _warn(self) -> None:
        if not self._warned:
            _log.warning("CategoryAlignment is left out, as no column of the items is a category. An item table "
                         "(`--items`) with one, such as a genre or a brand, makes it possible.")
        self._warned = True


def category_alignment(vectors: tf.Tensor, category: tf.Tensor) -> tf.Tensor:
    """Σ over categories i of ‖C(major) − C(i)‖²_F, C the covariance of a category's vectors.

    Args:
      vectors: [n, dim].
      category: int32 [n]; −1 is none. The major category has the most rows; one with a single row has no covariance.
    """
    names, place = tf.unique(category)
    member = tf.one_hot(place, tf.size(names), dtype=vectors.dtype)
    member *= tf.cast(category >= 0, vectors.dtype)[:, tf.newaxis]
    counts = tf.reduce_sum(member, axis=0)
    means = tf.math.divide_no_nan(tf.matmul(member, vectors, transpose_a=True), counts[:, tf.newaxis])
    centred = vectors - tf.gather(means, place)
    products = tf.einsum("nc,nd,ne->cde", member, centred, centred)
    covariances = products / tf.maximum(counts - 1, 1)[:, tf.newaxis, tf.newaxis]
    gaps = tf.reduce_sum((covariances - covariances[tf.argmax(counts)]) ** 2, axis=[1, 2])
    return tf.reduce_sum(tf.where(counts > 1, gaps, 0.0))
