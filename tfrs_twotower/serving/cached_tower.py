"""Runs `serving_default` in two steps: the query's vector, and the search by it. A cached vector saves the first."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.online import StoreError, UserVectorCache, vector_keys
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.signature import Signature, Value

_T = TypeVar("_T")
_SEARCH = {c.SERVING_DEFAULT: c.RECOMMEND_BY_VECTOR, c.RECOMMEND_FRESH: c.RECOMMEND_FRESH_BY_VECTOR}


class CachedTower:
    """Answers with the query vectors that a `UserVectorCache` holds, and adds the vectors that it lacks.

    The key of a vector is made of all inputs of the query tower and of the model's identity. While the cache fails,
    every vector is computed.
    """

    def __init__(self, cache: UserVectorCache, metrics: Metrics) -> None:
        self._cache, self._metrics = cache, metrics

    def call(self, model: LoadedModel, signature: Signature, inputs: Mapping[str, Value]) -> dict[str, tf.Tensor]:
        """Runs a signature of a model: `serving_default` and `recommend_fresh` in two steps, others as they are.

        Warm-up requests run here too, so that only the search by vector, and not also `serving_default`, takes the
        memory of an index.
        """
        search = _SEARCH.get(signature.name)
        if not {c.EMBED_QUERY, search} <= set(model.signatures):
            return signature(inputs)  # another signature, or an older export without a search by vector
        features = {name: np.asarray(inputs[name]) for name in (*model.query_inputs, c.OBJECTIVES) if name in inputs}
        absent = set(model.query_inputs) - features.keys()
        if absent or len({len(array) for array in features.values()}) > 1:
            return signature(inputs)  # a feature with a default was left out
        with self._metrics.stage("tower"):
            embedding = self._vectors(model, features)
        searched = model.signatures[search]  # if repeats count, it takes the history features too
        options = {name: v for name, v in inputs.items() if name not in features or name in searched.inputs}
        with self._metrics.stage("search"):
            return searched({c.EMBEDDING: embedding, **options})

    def _vectors(self, model: LoadedModel, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """The query vectors, float32 [batch, dim]."""
        keys = vector_keys(model.identity, features)
        found = self._ask(lambda: self._cache.get(keys)) or [None] * len(keys)
        absent = [row for row, vector in enumerate(found) if vector is None]
        self._metrics.looked_up(len(keys) - len(absent), len(absent))
        if absent:
            some = features if len(absent) == len(keys) else {n: v[absent] for n, v in features.items()}
            made = model.signatures[c.EMBED_QUERY](some)[c.EMBEDDING].numpy()
            self._ask(lambda: self._cache.put([keys[row] for row in absent], made))
            for row, vector in zip(absent, made):
                found[row] = vector
        return np.stack(found)  # type: ignore[arg-type]  # no vector is absent any more

    def _ask(self, question: Callable[[], _T]) -> _T | None:
        try:
            return question()
        except StoreError:
            self._metrics.store_failed("cache")
            return None
