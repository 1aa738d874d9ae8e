"""How validation chooses the weights in the score: by values that are made up."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.models import Neighbours, Repeats, ScoreWeights
from tfrs_twotower.pipeline.searching import Validation
from tfrs_twotower.recipe import ModelConfig
from tfrs_twotower.training import TrainingConfig

QUERIES = 100


class MadeUp:
    """An assembly whose model has values per query that are known."""

    def __init__(self, ndcg, recall=lambda weights: np.full(QUERIES, 0.5)):
        model = ModelConfig(popularity_weights=(0.0, 1.0, 2.0), neighbours=Neighbours(weights=(0.0, 1.0, 2.0)))
        self.recipe = SimpleNamespace(
            model=model, training=TrainingConfig(monitor="ndcg@10"), evaluation=EvaluationConfig(ks=(10, 100))
        )
        self._values = {"ndcg@10": ndcg, "recall@100": recall}

    def validation_queries(self):
        return None

    def weighing(self, queries):
        return lambda weights: weights

    def evaluate_each(self, queries, asked, bootstrap):
        return {name: self._evaluated(weights) for name, (weights, _) in asked.items()}

    def _evaluated(self, weights):
        per_query = {name: value(weights) for name, value in self._values.items()}
        return SimpleNamespace(per_query=per_query, metrics={n: float(v.mean()) for n, v in per_query.items()})


def chosen(*values):
    return next(iter(Validation(MadeUp(*values)).by_weights()))


def noise(size):
    """[queries] of mean 0 and standard deviation `size`."""
    return size * np.where(np.arange(QUERIES) % 2, 1.0, -1.0)


@pytest.mark.parametrize("gain, kept", [(0.009, 1.0), (0.011, 2.0)])
def test_a_weight_moves_for_more_than_the_standard_error(gain, kept):
    """The difference has a standard deviation of 0.1, so of 100 queries the standard error is 0.01."""
    def ndcg(weights):
        return 0.3 + (gain + noise(0.1)) * (weights.popularity == 2.0)

    assert chosen(ndcg).popularity == kept


def test_a_worse_head_is_taken_for_a_much_deeper_list():
    def ndcg(weights):
        return np.full(QUERIES, 0.30 - 0.03 * (weights.neighbours == 2.0))  # a tenth less

    def recall(weights):
        return np.full(QUERIES, 0.20 + 0.04 * (weights.neighbours == 2.0))  # a fifth more

    assert chosen(ndcg, recall) == ScoreWeights(1.0, 2.0, 0.0)
    assert chosen(ndcg) == ScoreWeights(1.0, 1.0, 0.0)


def test_the_second_round_finds_what_only_both_reach():
    def ndcg(weights):
        better = {(1.0, 2.0): 0.1, (2.0, 2.0): 0.2}.get((weights.popularity, weights.neighbours), 0.0)
        return np.full(QUERIES, 0.3 + better)

    assert chosen(ndcg) == ScoreWeights(2.0, 2.0, 0.0)


def test_a_query_that_was_dropped_does_not_count():
    def ndcg(weights):
        return np.where(np.arange(QUERIES) < 50, np.nan, 0.3 + 0.1 * (weights.popularity == 0.0))

    assert chosen(ndcg, ndcg) == ScoreWeights(0.0, 1.0, 0.0)


@pytest.mark.parametrize("gain, weight, kept", [(0.05, 0.0, 8.0), (0.07, 0.0, 0.0), (0.05, 16.0, 16.0)])
def test_a_weight_of_repeats_falls_only_for_three_per_cent(gain, weight, kept):
    """NDCG alone moves, so its gain is halved; it is relative to 0.3 at the first choice."""
    made = MadeUp(lambda weights: np.full(QUERIES, 0.3 * (1 + gain * (weights.repeats == weight))))
    made.recipe.model = dataclasses.replace(made.recipe.model, repeats=Repeats(weights=(0.0, 8.0, 16.0)))
    assert next(iter(Validation(made).by_weights())).repeats == kept
