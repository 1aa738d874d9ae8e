"""What a search may change, and that mistakes in it are refused before anything is trained."""

import dataclasses

import pytest
import toy

from tfrs_twotower import recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.losses import FullSoftmax, SampledSoftmax
from tfrs_twotower.sampling import InBatch, Uniform
from tfrs_twotower.tuning import Choice, Range, default_space, parse_dimension
from tfrs_twotower.tuning_space import checked


def test_few_shot_is_not_searched():
    """It is learned after a training, so no trial's figure would tell."""
    for field in ("model.few_shot", "model.few_shot.steps"):
        with pytest.raises(ConfigError, match="`space` must leave out `model.few_shot`.*Measure it on newcomers"):
            checked((Choice((field,), (None, 1)),), toy.recipe())


def test_the_default_space_of_movielens():
    recipe = recipes.load("movielens")
    space = {d.fields: d for d in default_space(recipe, items=1682)}
    assert space[("model.loss",)].values == (SampledSoftmax(), FullSoftmax())
    rate = space[("training.optimizer.learning_rate",)]
    assert (rate.low, rate.high, rate.log) == (pytest.approx(2e-4), pytest.approx(5e-3), True)
    assert {("model.dim",), ("model.query_encoder.dropout", "model.candidate_encoder.dropout"),
            ("model.temperature.value",), ("model.negatives",)} <= set(space)
    # The long history's length is tried, not that of the mood of the hour.
    assert [f for fields in space for f in fields if f.startswith("schema")] == ["schema.query.1.length"]
    assert checked(space.values(), recipe)  # each value fits


def test_a_large_catalogue_has_no_full_softmax_and_a_dot_product_no_temperature():
    recipe = override(recipes.load("movielens"), ["model.similarity=dot"])
    space = {d.fields[0]: d for d in default_space(recipe, items=1_000_000)}
    assert space["model.loss"].values == (SampledSoftmax(),)
    assert "model.temperature.value" not in space


def test_the_recipes_own_values_are_among_those_searched():
    recipe = dataclasses.replace(recipes.load("movielens"), schema=None)
    dim, rate = checked((
        Choice(("model.dim",), (8, 16)), Range(("training.optimizer.learning_rate",), 0.1, 0.2),
    ), recipe)
    assert dim.values == (64, 8, 16)
    assert (rate.low, rate.high) == (0.001, 0.2)


@pytest.mark.parametrize(("dimension", "message"), [
    (Choice(("model.dimm",), (8,)), "Did you mean `dim`?"),
    (Choice(("model.dim",), ("wide",)), "`model.dim` must be int"),
    (Choice(("model.dim",), (0,)), "`ModelConfig.dim` must be"),
    (Range(("model.query_encoder.dropout",), 0.0, 1.0),
     "`MLP.dropout` must be a finite number of at least 0 and below 1"),
])
def test_what_does_not_fit_the_recipe_is_refused(dimension, message):
    with pytest.raises(ConfigError) as error:
        checked((dimension,), toy.recipe())
    assert message in str(error.value)


def test_dimensions_as_typed():
    assert parse_dimension("model.dim=[32, 64]") == Choice(("model.dim",), (32, 64))
    assert parse_dimension("a.rate=0.001..0.01") == Range(("a.rate",), 0.001, 0.01, log=True)
    assert parse_dimension("a.x, b.x=0..0.5") == Range(("a.x", "b.x"), 0.0, 0.5)
    negatives = parse_dimension('model.negatives=[[{"type": "InBatch"}], [{"type": "Uniform", "count": 3}]]')
    assert negatives.values == ((InBatch(),), (Uniform(3),))
    for wrong in ("model.dim", "model.dim=3", "model.dim=[]", "model.dim=a..b", "model.dim=0.3..0.1", "model.dim=[3"):
        with pytest.raises(ConfigError):
            parse_dimension(wrong)
