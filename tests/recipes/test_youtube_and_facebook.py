"""The recipes youtube_dnn, youtube_sbc and facebook_ebr on planted data: all the way, and what is special in each."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import recipes
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, Id, Schema, Time
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.models import EventHeads
from tfrs_twotower.recipe import Member
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.sampling import Hard, Popular, Uniform
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import LazyAdamConfig

_SMALL = {"dim": 8, "query_encoder": MLP(widths=(16,)), "candidate_encoder": MLP(widths=(16,))}
_QUERY = {
    "youtube_dnn": (History(length=20), Time("timestamp", parts=("recency",))),
    "youtube_sbc": (History(length=1), History(length=20, pooling="decay")),
    "facebook_ebr": (Id("user_id", dim=8), History(length=20)),
}
_NEGATIVES = {"youtube_dnn": (Popular(256),), "facebook_ebr": (Uniform(64),)}


def small(name, epochs=4):
    """The recipe, its features and sizes cut down to the planted data."""
    recipe = recipes.load(name)
    model = dataclasses.replace(recipe.model, **_SMALL, negatives=_NEGATIVES.get(name, recipe.model.negatives))
    hard = (Uniform(64), Hard(count=1, first=20, last=60, refresh_steps=10))
    training = dataclasses.replace(
        recipe.training, epochs=epochs, batch_size=256, shuffle_buffer=1024, optimizer=LazyAdamConfig(0.01)
    )
    return dataclasses.replace(
        recipe, source=None, title=None, model=model, training=training, evaluation=toy.recipe().evaluation,
        schema=Schema(query=_QUERY[name], candidate=(Id("item_id", dim=8),)), index=IndexConfig(kind="exact"),
        ensemble=tuple(dataclasses.replace(m, model=dataclasses.replace(model, negatives=hard))
                       for m in recipe.ensemble),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{recipe: trained `Recommender`}, filled as the tests ask."""
    made, (frames, _) = {}, toy.planted()

    def run(name):
        if name not in made:
            made[name] = Recommender(small(name), directory=tmp_path_factory.mktemp(name), **frames).fit(verbose=0)
        return made[name]

    return run


@pytest.mark.parametrize("name", _QUERY)
def test_a_system_from_training_to_a_loaded_export(name, runs, tmp_path):
    run, (frames, truth) = runs(name), toy.planted()
    found = run.recommend([f"u{u}" for u in range(40)], k=5, exclude_seen=False)
    of_item = truth.item_cluster[found["item_id"].str[1:].astype(int)]
    of_user = truth.user_cluster[found["user_id"].str[1:].astype(int)]
    assert (of_item == of_user).mean() > 0.7  # 0.25 by chance
    metrics = run.evaluate()
    assert metrics["beats"]["popularity"]["recall@10"]["interval"][0] > 0
    with toy.two_signatures():
        run.export(tmp_path)  # it checks that the saved model answers as the model in memory
    again = Recommender.load(run.directory, **frames)
    assert toy.same_weights(again, run) and from_dict(to_dict(run.recipe)) == run.recipe


def test_the_examples_age_is_the_time_to_the_end_of_training_and_0_later(runs):
    a = runs("youtube_dnn").assembly
    train, later = a.split.train[::50], np.concatenate([a.split.validation.row, a.split.test.row])
    days = (a.log.timestamp[a.split.train].max() - a.log.timestamp[train]) / 86_400
    np.testing.assert_allclose(a.examples.queries(train)["time_timestamp"]["recency"], np.log1p(days), rtol=1e-5)
    assert days.max() > 30 and not a.examples.queries(later)["time_timestamp"]["recency"].any()


def test_youtube_sbc_is_trained_in_the_order_of_time(runs):
    batches = runs("youtube_sbc").assembly.batches
    log = runs("youtube_sbc").assembly.log
    time = [np.median(log.timestamp[batches.rows(step)]) for step in range(batches.steps_per_epoch)]
    assert np.corrcoef(time, np.arange(len(time)))[0, 1] > 0.95


def test_the_ensembles_score_is_the_weighted_mean_and_its_members_are_trained_as_if_alone(runs, tmp_path):
    frames, _ = toy.planted()
    recipe = small("facebook_ebr", epochs=1)
    recipe = dataclasses.replace(recipe, ensemble=(dataclasses.replace(recipe.ensemble[0], weight=3.0),))
    both = Recommender(recipe, directory=tmp_path / "both", **frames).fit(verbose=0).assembly
    alone = dataclasses.replace(recipe, ensemble=())
    first = Recommender(alone, directory=tmp_path / "alone", **frames).fit(verbose=0).assembly
    rows = both.split.test.row[:20]
    u, v = both.query_vectors(rows), both.candidate_vectors()
    members = [(side[0].numpy(), side[1].numpy()) for side in zip(
        both.model.query_tower.split(tf.constant(u)), both.model.candidate_tower.split(tf.constant(v))
    )]
    np.testing.assert_allclose(members[0][0], first.query_vectors(rows), atol=1e-5)
    np.testing.assert_allclose(members[0][1], first.candidate_vectors(), atol=1e-5)
    scores = [query @ candidate.T for query, candidate in members]
    np.testing.assert_allclose(u @ v.T, 0.25 * scores[0] + 0.75 * scores[1], atol=1e-5)
    assert np.abs(scores[0] - scores[1]).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1, atol=1e-5)
    assert both.model.objective.hard is both.model.objective.members[1].hard
    assert np.abs(both.model.objective.hard._vectors.numpy()).max() > 0  # it was refreshed


def test_a_member_that_cannot_be_one_is_refused():
    model = recipes.load("movielens").model
    with pytest.raises(ConfigError, match="Member.weight"):
        Member(model, weight=0.0)
    with pytest.raises(ConfigError, match="Member.model.auxiliary"):
        Member(dataclasses.replace(model, auxiliary=(EventHeads(("buy",)),)))
    with pytest.raises(ConfigError, match="popularity_weights.*keep its default"):
        Member(dataclasses.replace(model, popularity_weights=(0.5,)))
