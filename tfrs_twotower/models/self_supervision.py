"""A loss that makes the item tower recognise an item from two views, each with some features masked."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import Field, derive_seed
from tfrs_twotower.ids import missing_value
from tfrs_twotower.losses import sampled_softmax
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel
from tfrs_twotower.ranges import AtLeast, DropoutRate, NotNegative, Positive
from tfrs_twotower.sampling import same_item
from tfrs_twotower.sampling.draws import Draws
from tfrs_twotower.towers import EnsembleTower, Tower

_MEASURED = 50_000  # items from which the mutual information of the features is measured


@config
class SelfSupervision(AuxiliaryLoss):
    """Contrastive learning of the item tower by correlated feature masking and dropout.

    Reference: Yao et al. 2021, "Self-supervised learning for large-scale item recommendations". In each step one
    feature is drawn. It and the features most correlated with it (by mutual information), half of all, are masked in
    one view, the others in the other view. In features with several values (words, genres), each value is also dropped
    with a probability. InfoNCE then recognises each item's other view among those of the step's other items. The items
    are drawn uniformly from the catalogue, so that rare items are trained as often as popular ones.

    Attributes:
      items: items drawn for each step.
      dropout: probability that one of several values is dropped from a view.
      temperature: of the cosine of two views, above 0.
      weight: of this loss beside the retrieval loss.
    """

    items: Annotated[int, AtLeast(2)] = 256
    dropout: DropoutRate = 0.1
    temperature: Positive = 0.1
    weight: NotNegative = 0.3


@layer_of(SelfSupervision)
class SelfSupervisionLoss(tf.keras.layers.Layer):
    """Auxiliary loss of `SelfSupervision`. It has no weights of its own.

    Args:
      settings: a `SelfSupervision`.
      seed: of the draws.
    """

    def __init__(self, settings: SelfSupervision, seed: int = 0) -> None:
        super().__init__(name="self_supervision")
        self._autocast = False  # scores are float32 under mixed precision too
        self._settings = settings
        self._draws = Draws(derive_seed(seed, "draws"))
        self._views: _Views | None = None

    def call(
        self, model: TwoTowerModel, batch: dict[str, Any], queries: tf.Tensor, candidates: tf.Tensor,
        positives: Positives, training: bool = False,
    ) -> tf.Tensor:
        """See `models/auxiliary.py`; only the model's item tower and catalogue are used."""
        tower, objective, settings = model.candidate_tower, model.objective, self._settings
        if self._views is None:
            with tf.init_scope():
                self._views = _Views(tower.fields, objective.items.rows(objective.catalogue[:_MEASURED]))
        places = self._draws.uniform([settings.items], 0, tf.size(objective.catalogue), tf.int32)
        rows = tf.gather(objective.catalogue, places)
        encoded = objective.items.rows(rows)
        masked = self._views.masks[self._draws.uniform([], 0, len(tower.fields), tf.int32)]
        first = self._view(tower, encoded, masked, training)
        second = self._view(tower, encoded, tf.logical_not(masked), training)
        scores = tf.matmul(first, second, transpose_b=True) / settings.temperature
        return settings.weight * sampled_softmax(scores, tf.logical_not(same_item(rows, rows)))

    def _view(
        self, tower: Tower | EnsembleTower, encoded: dict[str, Any], masked: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """[items, dim] of length 1; masked: bool [fields]: the fields to treat as missing."""
        encoded = tf.nest.map_structure(self._drop, encoded)
        whole, missing = tower.embed(encoded, training), tower.embed(self._views.missing)
        parts = [tf.where(masked[i], lost, kept) for i, (kept, lost) in enumerate(zip(whole, missing))]
        return tf.math.l2_normalize(tf.cast(tower.vectors(parts, training), tf.float32), axis=-1)

    def _drop(self, part: tf.Tensor) -> tf.Tensor:
        """Leaves values out of lists of rows, [items, length]; other parts stay as they are."""
        if not part.dtype.is_integer or part.shape.rank != 2:
            return part
        kept = self._draws.uniform(tf.shape(part), 0.0, 1.0, tf.float32) >= self._settings.dropout
        return tf.where(kept, part, -1)


class _Views:
    """The masks of the views, and each field's encoded missing value. No part of a checkpoint."""

    def __init__(self, fields: Sequence[Field], encoded: Mapping[str, Mapping[str, tf.Tensor]]) -> None:
        self.masks = correlated_masks(fields, encoded)
        self.missing = {field.name: field.encode(_missing(field)) for field in fields}


def correlated_masks(fields: Sequence[Field], encoded: Mapping[str, Mapping[str, np.ndarray | tf.Tensor]]) -> tf.Tensor:
    """bool [fields, fields]: row i masks field i and the fields most correlated with it, half of all.

    Args:
      fields: the item tower's fields.
      encoded: {field name: {part: [items, ...]}}.

    Raises:
      ConfigError: there are fewer than two fields.
    """
    count = len(fields)
    if count < 2:
        rule = "have two features or more for SelfSupervision"
        way_out = "Give an item table with further columns (`--items`), or train `plain`."
        raise ConfigError(invalid("Schema.candidate", rule, [field.name for field in fields], way_out))
    codes = [_codes(tf.nest.map_structure(np.asarray, encoded[field.name])) for field in fields]
    masks = np.eye(count, dtype=bool)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        others.sort(key=lambda j: -mutual_information(codes[i], codes[j]))
        masks[i, others[: count // 2 - 1]] = True
    return tf.constant(masks)


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Σ p(x, y) log( p(x, y) / (p(x) p(y)) ), in nats, of two columns of codes, int [n]."""
    return _entropy(a) + _entropy(b) - _entropy(np.stack([a, b], axis=1))


def _entropy(codes: np.ndarray) -> float:
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def _codes(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """int [n]: codes that are equal if all parts of a field's encoding are equal."""
    flat = np.concatenate([part.reshape(len(part), -1).astype(np.float64) for part in parts.values()], axis=1)
    return np.unique(flat, axis=0, return_inverse=True)[1].reshape(-1)


def _missing(field: Field) -> dict[str, tf.Tensor]:
    """{column: raw tensor} of one item whose values of the field's columns are all missing."""
    raw = {}
    for column, spec in field.inputs().items():
        shape = [1, *(1 if size is None else size for size in spec.shape[1:])]
        # A missing number is NaN, but a missing vector zeros.
        value = 0.0 if spec.dtype == tf.float32 and len(shape) > 1 else missing_value(spec.dtype)
        raw[column] = tf.fill(shape, tf.constant(value, spec.dtype))
    return raw
