"""From a trained `Assembly` to what searches its catalogue: the weights in the score, the index, the `Retriever`."""

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import Retriever, Similarity, searched_candidates, searched_queries
from tfrs_twotower.features import key_dtype, to_tensor
from tfrs_twotower.index import build
from tfrs_twotower.models import ScoreWeights

_TUNING_QUERIES = 2_000  # queries by which an index is tuned and measured
_LEAST_QUERIES = 20  # with fewer, the candidates stand in


class Validation:
    """Measures a model, as it is now, on validation: call it for {metric: value} with the best `ScoreWeights`.

    Args:
      assembly: an `Assembly`.
    """

    def __init__(self, assembly):
        self._assembly, self._queries = assembly, assembly.validation_queries()

    def by_weights(self):
        """{`ScoreWeights`: metrics} of those of the recipe that were tried, the best one first.

        Popularity's weight is chosen beside the middle weight of repeats, then that of repeats, then the first again.
        """
        a, queries, repeats = self._assembly, self._queries, self._assembly.recipe.model.repeats
        vectors, candidates = a.query_vectors(queries.row), a.candidate_vectors()
        monitor, found = a.recipe.training.monitor, {}
        own = repeats.weights if repeats else (0.0,)
        best = ScoreWeights(0.0, own[len(own) // 2])
        for tried in ("popularity", "repeats", "popularity") if len(own) > 1 else ("popularity",):
            values = a.recipe.model.popularity_weights if tried == "popularity" else own
            for weights in (best._replace(**{tried: value}) for value in values):
                if weights not in found:
                    scorer = a.scorer(queries, vectors, candidates, weights)
                    found[weights] = a.judge(queries, scorer, bootstrap=0).metrics
            best = max(found, key=lambda weights: found[weights][monitor])
        return {best: found[best], **found}

    def __call__(self):
        return next(iter(self.by_weights().values()))


def tuned_index(assembly, config):
    """(index, report) over the catalogue's vectors, tuned to `config`'s target recall by real queries."""
    a, seed = assembly, assembly.recipe.training.seed
    rng, held_out = np.random.default_rng(seed), a.split.validation.row
    if len(held_out) < _TUNING_QUERIES:  # training events make it up: what they ask is as real
        held_out = np.concatenate([held_out, rng.permutation(a.split.train)[: _TUNING_QUERIES - len(held_out)]])
    queries, candidates = a.query_vectors(np.sort(rng.permutation(held_out)[:_TUNING_QUERIES])), a.candidate_vectors()
    if a.weights.popularity:
        weight = a.weights.popularity * a.model.temperature
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
        None if a.second_stage is None else a.second_stage.reranking(), a.weights.popularity,
        Similarity(vectors, a.recipe.training.seed), a.repeats,
    )
