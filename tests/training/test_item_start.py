"""Start vectors of items: counts and values by hand, and a model whose towers pass them on."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import tfrs_twotower  # noqa: F401
from tfrs_twotower.data import Frames, LeaveLastOut, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, Id, Schema, Sequence
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.towers import HSTU, MLP
from tfrs_twotower.training import CoVisits, start_items
from tfrs_twotower.training.item_start import co_visit_vectors, co_visits, factors, mutual_information


def test_pairs_count_by_distance_within_one_user():
    users, items = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 2, 0])
    counts = co_visits(users, items, 4, CoVisits(window=2, decay=0.5)).toarray()
    # User 0: 0–1 and 1–2 next to each other, 0–2 two apart. User 1: 2–0 next to each other. 2 and 2 are of two users.
    assert counts.tolist() == [[0, 1, 1.5, 0], [1, 0, 1, 0], [1.5, 1, 0, 0], [0, 0, 0, 0]]


def test_mutual_information_by_hand():
    counts = co_visits(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), 4, CoVisits(window=1))
    # Every item has one neighbour: N(i, j) = N(i) = N(j) = 1, and the smoothed counts sum to 4.
    values = mutual_information(counts).toarray()
    assert values == pytest.approx(np.log(4.0) * (counts.toarray() > 0))


def test_factors_are_those_of_the_exact_decomposition():
    import scipy.sparse

    matrix = scipy.sparse.random(60, 60, 0.2, random_state=0, format="csr", dtype=np.float32)
    matrix = matrix + matrix.T
    left, values = factors(matrix, 5)
    exact, expected, _ = np.linalg.svd(matrix.toarray())
    assert values == pytest.approx(expected[:5], rel=1e-2)
    assert np.abs(np.sum(left[:, 0] * exact[:, 0])) == pytest.approx(1.0, abs=1e-3)
    assert factors(scipy.sparse.eye(3, format="csr", dtype=np.float32), 5)[1].tolist() == pytest.approx([1, 1, 1, 0, 0])


def _two_groups():
    """Users 0–19 meet items 0–4 in random order, users 20–39 items 5–9; item 10 is met once and alone."""
    rng, rows = np.random.default_rng(0), []
    for user in range(40):
        for time, item in enumerate(rng.permutation(5) + 5 * (user >= 20)):
            rows.append((user, item, time))
    return pd.DataFrame([*rows, (40, 10, 0)], columns=["user_id", "item_id", "timestamp"])


def test_items_of_one_group_start_together():
    log = _two_groups()
    vectors = co_visit_vectors(log.user_id.to_numpy(), log.item_id.to_numpy(), 11, 2, CoVisits())
    similar = vectors @ vectors.T
    assert similar[:5, :5].min() > 0.9 and similar[5:10, 5:10].min() > 0.9
    assert np.abs(similar[:5, 5:10]).max() < 0.1
    assert not vectors[10].any()


@pytest.mark.parametrize("past, encoder", [(History(length=5), MLP(widths=())), (Sequence(length=5), HSTU(width=8))])
def test_an_untrained_model_ranks_the_neighbours_first(past, encoder):
    model = ModelConfig(dim=8, query_encoder=encoder, candidate_encoder=MLP(widths=()), item_start=CoVisits())
    schema = Schema(query=(past,), candidate=(Id("item_id", dim=8, dropout=0.0),))
    log = ingest(Frames(_two_groups()))[0]
    a = assemble(Recipe(name="toy", schema=schema, model=model, split=LeaveLastOut()), log)
    a.model.create_weights(next(iter(a.batches.dataset(0, 1))))
    a.start()
    first = a.split.test.row[:1]
    group = log.items["item_id"].to_numpy()[a.catalogue] // 5
    own = log.items["item_id"].to_numpy()[log.item[first[0]]] // 5
    scores = (a.query_vectors(first) @ a.candidate_vectors().T)[0]
    assert scores[group == own].mean() > scores[group == 1 - own].mean() + 0.2


def test_a_candidate_without_a_table_of_ids_is_refused():
    schema = Schema(query=(Id("user_id"),), candidate=(Id("item_id", buckets=16),))
    a = assemble(Recipe(name="toy", schema=schema, split=LeaveLastOut()), ingest(Frames(_two_groups()))[0])
    a.model.create_weights(next(iter(a.batches.dataset(0, 1))))
    with pytest.raises(ConfigError, match="item_start"):
        start_items(a.model, a.examples, a.split.train, CoVisits(), 0)


@pytest.mark.parametrize("settings", [{"window": 0}, {"decay": 0.0}, {"decay": 1.5}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        dataclasses.replace(CoVisits(), **settings)
