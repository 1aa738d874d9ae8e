"""The closed form beside the towers: by hand, by its definition, and the same in evaluation and in an export."""

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from tests import toy
from tfrs_twotower import columns as c
from tfrs_twotower.configuration import override
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.evaluation import EASE
from tfrs_twotower.exporting import Retriever, Similarity, manifest
from tfrs_twotower.features import History, Id, Schema
from tfrs_twotower.freshness.category_vectors import CategoryVectors
from tfrs_twotower.models import Neighbours, NeighbourVectors, Repeats, ScoreWeights
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.searching import Validation
from tfrs_twotower.pipeline.trials import Trials
from tfrs_twotower.recipe import ModelConfig
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.loading import load
from tfrs_twotower.training import NeighbourFit, neighbours, pooled


@pytest.fixture(scope="module")
def visits():
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 4, 300)
    dense = rng.random([300, 24]) < np.where(np.arange(24) % 4 == taste[:, np.newaxis], 0.5, 0.05)
    return sparse.csr_matrix(dense.astype(np.float32))


def test_all_dimensions_give_the_weights_of_ease(visits):
    found = NeighbourFit(visits, 24).vectors(10.0, 24)
    np.testing.assert_allclose(found.past @ found.items.T, EASE(visits, 10.0).weights, atol=1e-4)


def test_powers_weigh_users_and_items(visits):
    found = NeighbourFit(visits, 24, user_power=0.5).vectors(10.0, 24, item_power=0.2)
    sizes, counts = (np.asarray(visits.sum(axis=axis)).ravel() for axis in (1, 0))
    seldom = np.maximum(sizes, 1) ** -0.25
    seldom *= np.sqrt(sizes.sum() / (seldom**2 * sizes).sum())
    weighted = sparse.csr_matrix(visits.multiply(seldom[:, np.newaxis]).astype(np.float32))
    expected = EASE(weighted, 10.0).weights * (counts / counts.mean()) ** -0.2
    np.testing.assert_allclose(found.past @ found.items.T, expected, atol=1e-4)


def test_fewer_dimensions_are_nearest_on_the_histories(visits):
    found = NeighbourFit(visits, 24).vectors(10.0, 4)
    scores = visits @ EASE(visits, 10.0).weights
    left, values, right = np.linalg.svd(scores)
    best = (left[:, :4] * values[:4]) @ right[:4]
    np.testing.assert_allclose(visits @ found.past @ found.items.T * np.sqrt(4 / 24), best, atol=2e-2)


def test_rare_items_have_none(visits):
    found = NeighbourFit(visits, 5).vectors(10.0, 8)
    frequent = np.argsort(-np.asarray(visits.sum(axis=0)).ravel(), kind="stable")[:5]
    rare = np.setdiff1d(np.arange(24), frequent)
    assert not found.past[rare].any() and not found.items[rare].any()
    assert found.items[frequent].any(axis=1).all() and not found.items[:, 5:].any()


def test_a_history_has_one_length_and_an_empty_one_has_none():
    past = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    found = pooled(sparse.csr_matrix([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]), past)
    np.testing.assert_allclose(found, np.sqrt(2) * np.array([[0.6, 0.8], [1, 0], [0, 0]]), rtol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Neighbours and repeats beside towers that hardly learn anything."""
    frames, _ = toy.planted()
    base = toy.recipe(epochs=1)
    schema = Schema(query=(History(length=3), Id(c.USER_ID)), candidate=(Id(c.ITEM_ID),))
    model = ModelConfig(
        dim=8, popularity_weights=(0.0, 1.0), neighbours=Neighbours(dim=16, penalties=(10.0, 1e9), weights=(0.0, 3.0)),
        repeats=Repeats(length=20, weights=(0.0, 2.0), half_lives=(None, 5.0)),
    )
    recipe = override(dataclasses.replace(base, schema=schema, model=model), ["evaluation.exclude_seen=false"])
    return Recommender(recipe, **frames, directory=tmp_path_factory.mktemp("run")).fit(verbose=0)


def test_validation_chooses_them(trained):
    a = trained.assembly
    assert a.weights.neighbours == 3.0
    assert a.recipe.model.neighbours.penalties == (10.0,)  # with the other one all weights are 0 but for rounding
    queries = a.split.validation
    with_all, without = (
        a.evaluate(queries, a.scorer(queries, *a.towers(queries), weights), bootstrap=0).metrics["ndcg@10"]
        for weights in (a.weights, a.weights._replace(neighbours=0.0))
    )
    assert with_all > without + 0.01


def test_weights_tried_in_one_pass_have_the_figures_of_an_evaluation_of_each(trained):
    a = trained.assembly
    queries, found = a.split.validation, Validation(a).by_weights()
    assert len(found) > 3 and {w.neighbours for w in found} == {0.0, 3.0} and {w.repeats for w in found} == {0.0, 2.0}
    for weights, metrics in found.items():
        alone = a.evaluate(queries, a.scorer(queries, *a.towers(queries), weights), bootstrap=0).metrics
        assert metrics == pytest.approx(alone, abs=0.003)  # sums in another order may swap two near scores


@pytest.mark.parametrize("gain, kept", [(0.5, 16), (0.01, 4)])  # beside a standard error of about .1
def test_longer_vectors_have_to_be_better_by_more_than_a_standard_error(trained, gain, kept):
    terms, queries = copy.copy(trained.assembly.terms), trained.assembly.split.validation
    neighbours = Neighbours(dim=(16, 4), penalties=(1.0, 10.0, 100.0), weights=(0.0, 3.0))
    terms.settings = dataclasses.replace(terms.settings, neighbours=neighbours)
    noise = np.random.default_rng(0).normal(size=[2, 100])

    def measure(scorer):
        long = scorer.candidates.shape[1] == 16
        return noise[int(long)] - noise[int(long)].mean() + (gain if long else 0.0)

    terms.choose(queries, measure)
    assert terms.settings.neighbours.dims == (kept,) and terms.settings.neighbours.penalties == (10.0,)
    assert terms.neighbours.items.shape[1] == kept


@pytest.mark.parametrize("seconds, made, kept, untried", [
    (float("inf"), 5, ((10.0,), (0.0,), (16,)), []),
    (8.0, 5, ((10.0,), (0.0,), (16,)), []),
    (7.9, 4, ((10.0,), (0.0,), (4,)), ["longer vectors of neighbours"]),  # four times as long as a trial of the short
    (3.0, 3, ((10.0,), (0.0,), (4,)), ["larger powers of neighbours' items", "longer vectors of neighbours"]),
    (1.0, 1, ((10.0,), (0.0,), (4,)), [
        "other penalties of neighbours", "larger powers of neighbours' items", "longer vectors of neighbours",
    ]),
    (0.9, 0, None, ["neighbours"]),  # the first is estimated
])
def test_neighbours_are_chosen_in_their_time(trained, monkeypatch, seconds, made, kept, untried):
    terms, queries = copy.copy(trained.assembly.terms), trained.assembly.split.validation
    settings = Neighbours(dim=(4, 16), penalties=(1.0, 10.0, 100.0), item_powers=(0.0, 0.2), weights=(0.0, 3.0))
    terms.settings = dataclasses.replace(terms.settings, neighbours=settings)
    fitted, clock, steps = NeighbourFit.vectors, [0.0], []

    def vectors(fit, penalty, dim, *others):
        clock[0] += dim / 4  # 1 second, and 4 for the longer ones
        return fitted(fit, penalty, dim, *others)

    monkeypatch.setattr(NeighbourFit, "vectors", vectors)
    monkeypatch.setattr(NeighbourFit, "expected_seconds", lambda fit: 0.5)  # half of a trial
    trials = Trials(seconds, steps.append, lambda: clock[0])

    def measure(scorer):
        return np.arange(20.0) + (scorer.candidates.shape[1] == 16)

    before = terms.most_trials
    terms.choose(queries, measure, trials)
    found = terms.settings.neighbours
    assert kept == (found and (found.penalties, found.item_powers, found.dims)) and trials.untried == untried
    assert len(steps) == made and clock[0] == sum(steps) <= seconds
    assert before == 3 + 1 + 4 and (sum(steps) == before) == (made == 5)
    assert terms.settings.repeats and terms.settings.popularity_half_lives


def test_the_export_scores_as_the_evaluation(trained, tmp_path):
    trained = copy.copy(trained)
    trained._assembly = a = copy.copy(trained.assembly)
    a.weights = ScoreWeights(1.0, 3.0, 2.0)
    trained._served = a, runs.weights(trained.directory)
    queries = a.split.test.take(np.arange(5))
    expected = np.asarray(a.model_scorer(queries).scores(0, 5))
    served = tf.saved_model.load(str(trained.export(tmp_path / "export"))).signatures
    features = a.examples.raw_queries(queries.row, a.past_length)
    ids = a.log.items[c.ITEM_ID].take(a.catalogue).to_pylist()
    pairs = served["score_pairs"](**features, candidate_ids=tf.constant([ids] * 5))[c.SCORES].numpy()
    np.testing.assert_allclose(pairs, expected, rtol=1e-3, atol=1e-3)
    none = tf.constant([[]], tf.string)
    found = served["serving_default"](
        **features, k=tf.constant(10), exclude_ids=none, allow_ids=none, popularity_beta=tf.constant(0.0)
    )
    np.testing.assert_allclose(found[c.SCORES], -np.sort(-expected, axis=1)[:, :10], rtol=1e-3, atol=1e-3)
    embedded = served["embed_query"](**features)[c.EMBEDDING].numpy()
    np.testing.assert_allclose(embedded, a.query_vectors(queries.row), rtol=1e-4, atol=1e-5)
    items = served["embed_candidate"](item_id=tf.constant([*ids[:3], "unheard of"]))[c.EMBEDDING].numpy()
    np.testing.assert_allclose(items[:3], a.candidate_vectors()[:3], rtol=1e-4, atol=1e-5)
    assert not items[3, 8:].any()


def test_a_loaded_run_scores_the_same(trained):
    frames, _ = toy.planted()
    again, queries = Recommender.load(trained.directory, **frames).assembly, trained.assembly.split.test
    assert again.weights == trained.assembly.weights
    np.testing.assert_allclose(
        again.model_scorer(queries).scores(0, 9), trained.assembly.model_scorer(queries).scores(0, 9), atol=1e-4
    )


def test_a_loaded_run_has_the_vectors_that_were_kept_not_new_ones(trained, tmp_path):
    run = shutil.copytree(trained.directory, tmp_path / "run")
    own, a = trained.assembly.terms.neighbours, trained.assembly
    neighbours.keep(run / "checkpoint", a.terms._item_keys, NeighbourVectors(-own.past, -own.items))
    frames, _ = toy.planted()
    loaded = Recommender.load(run, **frames).assembly.terms.neighbours
    np.testing.assert_array_equal(loaded.items, -own.items)
    np.testing.assert_array_equal(loaded.past, -own.past)


@pytest.mark.parametrize("name, term", [("neighbours", Neighbours()), ("repeats", Repeats())])
def test_they_need_a_past(name, term, tmp_path):
    frames, _ = toy.planted()
    recipe = dataclasses.replace(toy.recipe(), schema=Schema(query=(Id(c.USER_ID),), candidate=(Id(c.ITEM_ID),)))
    model = dataclasses.replace(recipe.model, **{name: term})
    recipe = override(dataclasses.replace(recipe, model=model), ["evaluation.exclude_seen=false"])
    with pytest.raises(ConfigError, match=f"model.{name}"):
        Recommender(recipe, **frames, directory=tmp_path / "run").fit(verbose=0)


def test_items_are_alike_by_the_towers_alone(trained):
    a, retriever = trained.served, trained.retriever
    towers = a.towers(a.split.test)[1]
    np.testing.assert_allclose(retriever.similarity.lengths, np.linalg.norm(towers, axis=1), rtol=1e-5)
    ids, scores = retriever.similar_items(retriever.item_ids[:2], tf.constant(3))
    by_hand = Retriever(
        retriever.query_tower, retriever.candidate_tower, towers, retriever.item_ids.numpy(), None, 1.0,
        a.log_popularity, similarity=Similarity(towers, a.recipe.training.seed),
    ).similar_items(retriever.item_ids[:2], tf.constant(3))
    np.testing.assert_array_equal(ids, by_hand[0])
    np.testing.assert_allclose(scores, by_hand[1], rtol=1e-4)


def test_a_server_measures_items_by_the_towers_alone(trained, tmp_path):
    version = trained.export(tmp_path / "export")
    model = load(str(version), 1, manifest.read(version))
    catalogue, vectors = model.catalogue, trained.served.candidate_vectors()
    first, dim = catalogue.ids[0], trained.recipe.model.dim
    items = CurrentItems(catalogue)
    expected = trained.retriever.similar_items(trained.retriever.item_ids[:1], tf.constant(3))
    assert [item for item, _ in items.similar(first, 3)] == expected[0].numpy().astype(str)[0].tolist()
    np.testing.assert_allclose(items.vectors([first])[0], vectors[0, :dim], rtol=1e-4)
    twin = np.concatenate([vectors[0, :dim], -vectors[0, dim:]])  # alike by the towers, not by the rest
    items = items.after({"twin": ({}, twin)})
    assert items.similar(first, 1)[0][0] == "twin"
    cold = np.float32([[0.5] * dim + [7.0] * (catalogue.dim - dim)])
    category = catalogue.attributes.table["category"][0].as_py()
    CategoryVectors(catalogue, "category").put([{c.ITEM_ID: "cold", "category": category}], cold)
    assert np.linalg.norm(cold[0, :dim]) == pytest.approx(1.0) and (cold[0, dim:] == 7.0).all()


def test_they_are_kept_in_the_order_of_another_catalogue(tmp_path):
    vectors = NeighbourVectors(np.float32([[1, 2], [0, 0], [3, 4]]), np.float32([[5, 6], [0, 0], [7, 8]]))
    neighbours.keep(tmp_path, np.array([10, 20, 30]), vectors)
    found = neighbours.kept(tmp_path, np.array([30, 40, 10, 20]))
    np.testing.assert_array_equal(found.past, [[3, 4], [0, 0], [1, 2], [0, 0]])
    np.testing.assert_array_equal(found.items, [[7, 8], [0, 0], [5, 6], [0, 0]])
    neighbours.keep(tmp_path, np.array([10]), NeighbourVectors(*np.zeros([2, 1, 3], np.float32)))
    assert not neighbours.kept(tmp_path, np.array([0, 10])).past.any()
    (tmp_path / "neighbours.npz").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="neighbours.npz cannot be read"):
        neighbours.kept(tmp_path, np.array([30]))


def test_a_penalty_that_is_too_small_is_raised():
    twins = sparse.csr_matrix(np.repeat(np.eye(3, dtype=np.float32), 2, axis=1)[np.arange(3000) % 3])
    found = NeighbourFit(twins, 6).vectors(1e-30, 2)
    assert np.isfinite(found.past).all() and found.past.any()
