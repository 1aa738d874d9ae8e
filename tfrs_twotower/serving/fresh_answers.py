"""Applies the changes of items since the export to answers: new and edited items are in, withdrawn items are out."""

from collections.abc import Mapping

import pandas as pd
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.ids import missing_id
from tfrs_twotower.scores import best
from tfrs_twotower.serving.catalogue import texts
from tfrs_twotower.serving.current_items import ItemChanges
from tfrs_twotower.serving.errors import InvalidArgument
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE, LoadedModel, Runner
from tfrs_twotower.serving.signature import Signature, Value

_FRESH, _FRESH_BY_VECTOR = c.RECOMMEND_FRESH, c.RECOMMEND_FRESH_BY_VECTOR
_TWINS = {
    DEFAULT_SIGNATURE: _FRESH, _FRESH: _FRESH, c.RECOMMEND_BY_VECTOR: _FRESH_BY_VECTOR,
    _FRESH_BY_VECTOR: _FRESH_BY_VECTOR, c.RECOMMEND_FOUND_BY_VECTOR: c.RECOMMEND_FOUND_BY_VECTOR,
}
_OWN = (c.OVERLAY_IDS, c.OVERLAY_VECTORS, c.WITHDRAWN_IDS)


class FreshAnswers:
    """Runs signatures so that no answer holds a withdrawn item, and new and edited items have their true rank.

    `serving_default` and `recommend_by_vector` run as `recommend_fresh` and `recommend_fresh_by_vector`.
    `recommend_exact` and `similar_items` have no such twin: their answers are merged here, exactly.
    `score_pairs` gives a withdrawn item the score of an unknown item. It scores the others by their exported vectors.

    Args:
      changes: `ItemChanges`.
      call: runs a signature: (model, signature, inputs) → tensors.
    """

    def __init__(self, changes: ItemChanges, call: Runner) -> None:
        self._changes, self._call = changes, call
        self._others = {
            c.RECOMMEND_EXACT: self._exact, c.SIMILAR_ITEMS: self._similar, c.SCORE_PAIRS: self._score,
        }

    def call(self, model: LoadedModel, signature: Signature, inputs: Mapping[str, Value]) -> dict[str, tf.Tensor]:
        """Runs a signature of an attached model.

        Raises:
          InvalidArgument: the request has inputs for changes of items.
        """
        twin = _TWINS.get(signature.name)
        if twin is not None:
            return self._fresh(model, twin, inputs)
        return self._others.get(signature.name, self._call)(model, signature, signature.tensors(inputs))

    def _fresh(self, model: LoadedModel, twin: str, inputs: Mapping[str, Value]) -> dict[str, tf.Tensor]:
        own = [name for name in _OWN if name in inputs]
        if own:
            raise InvalidArgument(f"The server itself knows which items changed. Leave {own} out.")
        return self._call(model, model.signatures[twin], {**inputs, **self._changes.items(model).inputs})

    def _exact(
        self, model: LoadedModel, signature: Signature, tensors: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        missing = missing_id(model.catalogue.id_type)
        if c.ALLOW_IDS in tensors and bool(tf.reduce_any(tensors[c.ALLOW_IDS] != missing)):
            return self._fresh(model, _FRESH, tensors)  # a search with an allow-list is always exact
        changes = self._changes.items(model).inputs
        excluded = tensors.get(c.EXCLUDE_IDS, signature.defaults[c.EXCLUDE_IDS])
        hidden = tf.concat([changes[c.OVERLAY_IDS], changes[c.WITHDRAWN_IDS]], axis=0)
        hidden = tf.repeat(hidden[tf.newaxis], tf.shape(excluded)[0], axis=0)
        found = self._call(model, signature, {**tensors, c.EXCLUDE_IDS: tf.concat([excluded, hidden], axis=1)})
        if not tf.size(changes[c.OVERLAY_IDS]):
            return found
        overlay = {**tensors, **changes, c.ALLOW_IDS: changes[c.OVERLAY_IDS][tf.newaxis]}
        fresh = self._call(model, model.signatures[_FRESH], overlay)
        return _merged(found, fresh, tf.reduce_max(tensors.get(c.K, signature.defaults[c.K])))

    def _similar(
        self, model: LoadedModel, signature: Signature, tensors: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        items = self._changes.items(model)
        size = int(items.exported.sum()) + len(items.overlay_ids)
        k = min(int(tf.reduce_max(tensors.get(c.K, signature.defaults[c.K]))), max(size, 1))
        asked, missing = texts(tensors[c.ITEM_ID].numpy()).tolist(), missing_id(model.catalogue.id_type)
        answers = [items.similar(item, k) for item in asked]
        padded = [answer + [(missing, float(tf.float32.min))] * (k - len(answer)) for answer in answers]
        return {
            c.IDS: tf.constant([[item for item, _ in answer] for answer in padded], tensors[c.ITEM_ID].dtype,
                               [len(asked), k]),
            c.SCORES: tf.constant([[score for _, score in answer] for answer in padded], tf.float32, [len(asked), k]),
        }

    def _score(
        self, model: LoadedModel, signature: Signature, tensors: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        scores = self._call(model, signature, tensors)[c.SCORES]
        candidates = tensors[c.CANDIDATE_IDS].numpy()
        gone = pd.Index(candidates.ravel()).isin(self._changes.items(model).inputs[c.WITHDRAWN_IDS].numpy())
        return {c.SCORES: tf.where(gone.reshape(candidates.shape), tf.float32.min, scores)}


def _merged(first: Mapping[str, tf.Tensor], second: Mapping[str, tf.Tensor], k: tf.Tensor) -> dict[str, tf.Tensor]:
    ids, scores = (tf.concat([first[name], second[name]], axis=1) for name in (c.IDS, c.SCORES))
    scores, ids = best(scores, ids, k)
    return {c.IDS: ids, c.SCORES: scores}
