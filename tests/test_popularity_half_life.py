"""Popularity that forgets: its counts by hand, and which half-life is kept."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tfrs_twotower  # noqa: F401
from tfrs_twotower.data import Columns, Frames, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Id, Schema
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.score_terms import ScoreTerms
from tfrs_twotower.recipe import ModelConfig, Recipe

DAY = 86_400
SCHEMA = Schema(query=(Id("user_id"),), candidate=(Id("item_id"),))


@pytest.mark.parametrize("half_life, expected", [
    (None, [2.0, 1.0]),
    (1.0, [1.0, 2.0]),  # 2 · ¼ and 1, brought to a sum of 3
    (0.5, [1.0, 3 / 1.125]),  # 2 / 16 and 1; the first would be a third, and counts one
])
def test_an_event_counts_half_after_the_half_life(half_life, expected):
    log = SimpleNamespace(
        timestamp=np.array([0, 0, 2 * DAY]), item=np.array([0, 0, 1]), user=np.zeros(3, int),
        items=SimpleNamespace(num_rows=2),
    )
    terms = ScoreTerms(log, np.arange(3), np.array([0, 1]), np.array([2, 1]), None, True, ModelConfig(), 0)
    assert terms.popular(half_life) == pytest.approx(expected)


def _log(turns):
    """200 users, one event a quarter of a day; where the taste turns, items 0–4 give way to 5–9 on day 30."""
    rng = np.random.default_rng(0)
    items = rng.integers(0, 5, 200) + 5 * (turns and np.arange(200) >= 120)
    return pd.DataFrame({"user_id": np.arange(200), "item_id": items, "timestamp": np.arange(200) * DAY // 4})


def _kept(log, columns=Columns(), **settings):
    model = ModelConfig(popularity_half_lives=(None, 30.0, 3.0))
    recipe = Recipe(name="toy", schema=SCHEMA, model=model, evaluation=EvaluationConfig(bootstrap=0, **settings))
    return assemble(recipe, ingest(Frames(log, columns=columns))[0])


def test_validation_keeps_the_half_life_by_which_popularity_ranks_best():
    a = _kept(_log(turns=True))
    assert a.recipe.model.popularity_half_lives[0] == 3.0
    new = a.log.items["item_id"].to_numpy()[a.catalogue] >= 5
    assert a.log_popularity[new].min() > a.log_popularity[~new].max()


def test_a_log_without_times_forgets_nothing():
    log = pd.DataFrame({"user_id": np.repeat(np.arange(40), 5), "item_id": np.tile(np.arange(10), 20)})
    a = _kept(log, Columns(timestamp=None))
    assert a.recipe.model.popularity_half_lives == (None,)


def test_a_sample_of_the_validation_queries_is_drawn_by_the_seed():
    a = _kept(_log(turns=False), validation_queries=7)
    first, again = a.validation_queries(), a.validation_queries()
    assert len(first) == 7 < len(a.split.validation) and first.row.tolist() == again.row.tolist()
    a.recipe = dataclasses.replace(a.recipe, evaluation=EvaluationConfig())
    assert len(a.validation_queries()) == len(a.split.validation)


@pytest.mark.parametrize("half_lives", [(), (0.0,), (-1.0, None)])
def test_half_lives_are_days_above_zero(half_lives):
    with pytest.raises(ConfigError, match="popularity_half_lives"):
        ModelConfig(popularity_half_lives=half_lives)
