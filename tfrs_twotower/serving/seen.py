"""Seen items: answers leave them out if the evaluation did, unless the request says what to leave out."""

from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.serving.model import LoadedModel, Signature


def leaves_out(model: LoadedModel) -> bool:
    """Whether the model's evaluation excluded seen items; its answers then do so too, by default."""
    return bool(model.manifest.get("exclude_seen"))


def is_left_out(model: LoadedModel, signature: Signature, tensors: Mapping[str, tf.Tensor]) -> bool:
    """Whether the server adds the seen items to the exclusions: not if a request has `exclude_ids`, even if empty."""
    return leaves_out(model) and c.EXCLUDE_IDS in signature.inputs and c.EXCLUDE_IDS not in tensors


def with_seen(
    model: LoadedModel, signature: Signature, tensors: dict[str, tf.Tensor], known: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """`tensors` with the seen items as `exclude_ids`, if `is_left_out`.

    Args:
      model: a `LoadedModel`.
      signature: one of its signatures.
      tensors: {input name: tensor}: the history in them counts as seen.
      known: [batch, any] of item ids that count too, or None.
    """
    if not is_left_out(model, signature, tensors):
        return tensors
    parts = [ids for ids in (tensors.get(c.HISTORY_ITEM_ID), known) if ids is not None]
    if not parts or any(ids.dtype != signature.inputs[c.EXCLUDE_IDS].dtype for ids in parts):
        return tensors
    return {**tensors, c.EXCLUDE_IDS: tf.concat(parts, axis=1)}
