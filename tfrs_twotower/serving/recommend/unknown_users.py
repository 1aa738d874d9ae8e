"""Finds unknown users: users without any data, for whom the towers give everybody's answer."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.features import is_missing
from tfrs_twotower.ids import missing_id
from tfrs_twotower.serving.model import LoadedModel

_TOLERANCE = 1e-6


def is_unknown_user(model: LoadedModel, tensors: Mapping[str, tf.Tensor], said: bool) -> bool:
    """Is the user of a query unknown? A user is unknown if all of these hold:

    - the request carries no feature of the user, and the store has no event;
    - no feature besides the id and the time has a value, so the store has no profile that the model reads;
    - the query tower gives the same vector without the id, so the id was neither in training nor in a later update.

    Args:
      model: a `LoadedModel`.
      tensors: {name: tensor of one batch row}, with at least all features of a query.
      said: True if the request carries features or the store has events.
    """
    features = {name: tensors[name] for name in model.query_inputs}
    if "rules" in model.manifest:  # lists by context (`coldstart`) have an answer for every user
        return False
    if said or any(_has_value(t) for name, t in features.items() if name not in (c.USER_ID, c.TIMESTAMP)):
        return False
    if c.USER_ID not in features:
        return True
    both = {name: tf.concat([tensor, tensor], axis=0) for name, tensor in features.items()}
    user = tensors[c.USER_ID]
    both[c.USER_ID] = tf.concat([user, tf.constant([missing_id(user.dtype)], user.dtype)], axis=0)
    with_id, without = model.signature(c.EMBED_QUERY)(both)[c.EMBEDDING].numpy()
    return bool(np.allclose(with_id, without, rtol=_TOLERANCE, atol=_TOLERANCE))


def _has_value(tensor: tf.Tensor) -> bool:
    if not tensor.dtype.is_floating:
        return not bool(tf.reduce_all(is_missing(tensor)))
    values = tensor.numpy()
    there = ~np.isnan(values)
    return bool(np.any(values[there] != 0) if values.ndim > 1 else there.any())
