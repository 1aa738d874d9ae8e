"""Aligns the content vectors of items with the embeddings of their ids."""

import functools
from collections.abc import Sequence
from typing import Annotated, Any

import tensorflow as tf

from tfrs_twotower.columns import ITEM_ID
from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import Field, Id, Vector, derive_seed
from tfrs_twotower.losses import sampled_softmax
from tfrs_twotower.models.auxiliary import AuxiliaryLoss
from tfrs_twotower.models.objectives import Positives
from tfrs_twotower.models.two_tower import TwoTowerModel
from tfrs_twotower.ranges import AtLeast, NotNegative, Positive
from tfrs_twotower.sampling import same_item
from tfrs_twotower.sampling.draws import Draws


@config
class ContentAlignment(AuxiliaryLoss):
    """InfoNCE between the content of an item (its `Vector` features, as projected) and the embedding of its id.

    Both directions, for each `Vector` of the item tower: text, image, or any other. So the content vector of an item
    without training events lies where the embedding of its id would. The loss is that of van den Oord et al. 2018, as
    CLIP (Radford et al. 2021) aligns two modalities. Items are drawn uniformly from the catalogue. Items without the
    content, or whose id was not learned, do not count.

    Attributes:
      items: items drawn for each step.
      temperature: of the cosine between the two, above 0.
      weight: of this loss beside the retrieval loss.
    """

    items: Annotated[int, AtLeast(2)] = 256
    temperature: Positive = 0.1
    weight: NotNegative = 0.3


@layer_of(ContentAlignment)
class ContentAlignmentLoss(tf.keras.layers.Layer):
    """Auxiliary loss of `ContentAlignment`. It has no weights of its own.

    Args:
      settings: a `ContentAlignment`.
      seed: of the draws.
    """

    def __init__(self, settings: ContentAlignment, seed: int = 0) -> None:
        super().__init__(name="content_alignment")
        self._autocast = False  # scores are float32 under mixed precision too
        self._settings = settings
        self._draws = Draws(derive_seed(seed, "draws"))

    def call(
        self, model: TwoTowerModel, batch: dict[str, Any], queries: tf.Tensor, candidates: tf.Tensor,
        positives: Positives, training: bool = False,
    ) -> tf.Tensor:
        """See `models/auxiliary.py`; only the model's item tower and catalogue are used."""
        objective, settings = model.objective, self._settings
        id_field, content = aligned_fields(model.candidate_tower.fields)
        places = self._draws.uniform([settings.items], 0, tf.size(objective.catalogue), tf.int32)
        rows = tf.gather(objective.catalogue, places)
        encoded = objective.items.rows(rows)
        ids = id_field(encoded[id_field.name], training=False)  # without its dropout, which would read another row
        losses = []
        for field in content:
            given = encoded[field.name]
            counts = tf.logical_and(encoded[id_field.name]["index"] > 0, tf.reduce_any(given["vector"] != 0, axis=1))
            losses += self._both_ways(field(given, training=training), ids, rows, counts)
        return settings.weight * functools.reduce(tf.add, losses) / len(losses)

    def _both_ways(
        self, content: tf.Tensor, ids: tf.Tensor, rows: tf.Tensor, counts: tf.Tensor
    ) -> list[tf.Tensor]:
        """InfoNCE of content → id and of id → content; counts: bool [items]."""
        content, ids = (tf.math.l2_normalize(tf.cast(x, tf.float32), axis=-1) for x in (content, ids))
        scores = tf.matmul(content, ids, transpose_b=True) / self._settings.temperature
        mask = tf.logical_and(tf.logical_not(same_item(rows, rows)), counts[tf.newaxis])
        weights = tf.cast(counts, tf.float32)
        return [sampled_softmax(s, mask, weights) for s in (scores, tf.transpose(scores))]


def aligned_fields(fields: Sequence[Field]) -> tuple[Field, list[Field]]:
    """(the field of the item's id, the fields of its content).

    Raises:
      ConfigError: one of the two is missing, or their sizes differ.
    """
    ids = [field for field in fields if isinstance(field.feature, Id) and field.feature.column == ITEM_ID]
    content = [field for field in fields if isinstance(field.feature, Vector)]
    if not ids or not content:
        rule = f"hold Id({ITEM_ID!r}) and a Vector for ContentAlignment"
        way_out = "Add the missing one; a Vector reads an item column of lists of numbers."
        raise ConfigError(invalid("Schema.candidate", rule, [field.name for field in fields], way_out))
    for field in content:
        if field.feature.dim != ids[0].feature.dim:
            rule = f"be the {ids[0].feature.dim} of Id({ITEM_ID!r}), to be aligned with it"
            raise ConfigError(invalid(
                f"Vector({field.feature.column!r}).dim",  # type: ignore[attr-defined]  # a Vector has it
                rule, field.feature.dim, "Set it so.",
            ))
    return ids[0], content
