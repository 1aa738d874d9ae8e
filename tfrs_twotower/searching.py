"""From a trained `Assembly` to what searches its catalogue: popularity's weight, the index, the `Retriever`."""

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import Retriever, Similarity, searched_candidates, searched_queries
from tfrs_twotower.features import key_dtype, to_tensor
from tfrs_twotower.index import build

_TUNING_QUERIES = 2_000  # queries by which an index is tuned and measured
_LEAST_QUERIES = 20  # with fewer, the candidates stand in


class Validation:
    """Measures a model, as it is now, on validation: call it for {metric: value} with the best popularity weight.

    Args:
      assembly: an `Assembly`.
    """

    def __init__(self, assembly):
        self._assembly, self._queries = assembly, assembly.validation_queries()

    def by_weight(self):
        """{w: metrics} for the recipe's weights w of log p(item), in their order."""
        a, queries = self._assembly, self._queries
        vectors, candidates = a.query_vectors(queries.row), a.candidate_vectors()
        return {w: a.judge(queries, a.scorer(queries, vectors, candidates, w), bootstrap=0).metrics
                for w in a.recipe.model.popularity_weights}

    def __call__(self):
        monitor = self._assembly.recipe.training.monitor
        return max(self.by_weight().values(), key=lambda metrics: metrics[monitor])


def tuned_index(assembly, config):
    """(index, report) over the catalogue's vectors, tuned to `config`'s target recall by real queries."""
    a, seed = assembly, assembly.recipe.training.seed
    rng, held_out = np.random.default_rng(seed), a.split.validation.row
    if len(held_out) < _TUNING_QUERIES:  # training events make it up: what they ask is as real
        held_out = np.concatenate([held_out, rng.permutation(a.split.train)[: _TUNING_QUERIES - len(held_out)]])
    queries, candidates = a.query_vectors(np.sort(rng.permutation(held_out)[:_TUNING_QUERIES])), a.candidate_vectors()
    if a.popularity_weight:
        weight = a.popularity_weight * a.model.temperature
        queries = searched_queries(queries).numpy()
        candidates = searched_candidates(candidates, a.log_popularity, weight).numpy()
    queries = queries.reshape(-1, queries.shape[-1])  # of several interests each is searched by itself
    return build(config, candidates, queries if len(queries) >= _LEAST_QUERIES else None, seed=seed)


def retriever(assembly, index):
    """The `Retriever` of a trained model, over an index of `tuned_index`."""
    a = assembly
    item_ids, vectors = a.log.items[c.ITEM_ID].take(a.catalogue), a.candidate_vectors()
    return Retriever(
        a.model.query_tower, a.model.candidate_tower, vectors,
        to_tensor(item_ids, tf.TensorSpec([None], key_dtype(item_ids, c.ITEM_ID)), c.ITEM_ID), index,
        a.model.temperature, a.log_popularity,
        None if a.second_stage is None else a.second_stage.reranking(), a.popularity_weight,
        Similarity(vectors, a.recipe.training.seed),
    )
