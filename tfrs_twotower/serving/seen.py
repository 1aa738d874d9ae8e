"""What users have seen already: a request that does not say what to leave out has it left out, if so evaluated."""

import tensorflow as tf

from tfrs_twotower import columns as c


def leaves_out(model):
    """Did the model's evaluation leave out what a user had seen? So do its answers then, by default."""
    return bool(model.manifest.get("exclude_seen"))


def is_left_out(model, signature, tensors):
    """Is it for the server to say what this request leaves out? One with `exclude_ids`, also an empty list, says it."""
    return leaves_out(model) and c.EXCLUDE_IDS in signature.inputs and c.EXCLUDE_IDS not in tensors


def with_seen(model, signature, tensors, known=None):
    """`tensors` with what was seen as `exclude_ids`, where the server says what is left out.

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
