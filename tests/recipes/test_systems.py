"""Each system on planted data, all the way: it trains, finds what was planted, evaluates, exports and loads.

GRU4Rec does so in `test_unknown_users.py` and `test_pasts.py`.
"""

import contextlib
import dataclasses

import numpy as np
import pytest
import toy

from tfrs_twotower import recipes
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.exporting import read
from tfrs_twotower.features import Augmented, Category, GraphVector, History, Id, Schema, Sequence, Text, Vector
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.models import CategoryAlignment, ContentAlignment, Distillation, Mimic, SelfSupervision
from tfrs_twotower.recipe import ModelConfig
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.rerankers import COLD, NeuralCF
from tfrs_twotower.sampling import InBatch, Uniform
from tfrs_twotower.towers import (
    CIN,
    DCN,
    HSTU,
    MIND,
    MLP,
    ComiRec,
    FMCandidate,
    FMQuery,
    ParallelCandidate,
    ParallelQuery,
    SASRec,
)

import tensorflow as tf  # isort: skip

SMALL = MLP(widths=(16,))
BRANCHES = (SMALL, DCN(layers=2), CIN())
SEQUENCE = Schema(query=(Id("user_id", dim=8), Sequence(length=20)), candidate=(Id("item_id", dim=8),))
GRAPH = Schema(
    query=(Id("user_id", dim=8), History(length=20)),
    candidate=(Id("item_id", dim=8), GraphVector(dim=8), Vector("image", dim=8)),
)
AUGMENTED = Schema(
    query=(Id("user_id"), Augmented("user_id", dim=16)),
    candidate=(
        Id("item_id"), Text("category", analyser="trigrams"), Category("category"), Augmented("item_id", dim=16)
    ),
)

# name: (model, schema or None for that of the columns). What does not meet inside a system is in one of them.
SYSTEMS = {
    "mind": (ModelConfig(dim=16, query_encoder=MIND(interests=2, hidden=SMALL)), SEQUENCE),
    "sasrec": (
        ModelConfig(dim=16, query_encoder=SASRec(blocks=1, dropout=0.0, length=20), loss=FullSoftmax()), SEQUENCE
    ),
    "hstu": (
        ModelConfig(
            dim=16, query_encoder=HSTU(blocks=1, width=16, dropout=0.0, length=20), negatives=(Uniform(count=64),)
        ),
        SEQUENCE,
    ),
    "comirec": (ModelConfig(dim=16, query_encoder=ComiRec(interests=2, attention=8, hidden=SMALL)), SEQUENCE),
    "auxiliary_graph_neural_cf": (
        ModelConfig(
            dim=16, reranker=NeuralCF(widths=(16,), top=20, negatives=5), auxiliary=(
                Distillation(candidates=16, widths=(16, 8)), SelfSupervision(items=32), ContentAlignment(items=32)
            ),
        ), GRAPH
    ),
    "parallel_fm": (
        ModelConfig(
            dim=64, query_encoder=ParallelQuery((*BRANCHES, FMQuery())),
            candidate_encoder=ParallelCandidate((*BRANCHES, FMCandidate())), similarity="dot",
        ), None
    ),
    "senet_cold": (
        dataclasses.replace(recipes.load("senet").model, reranker=COLD(widths=(16,), dim=4, top=20, negatives=5)), None
    ),
    "dual_augmented_trigrams": (
        ModelConfig(
            dim=16, negatives=(InBatch(), Uniform(count=256)), auxiliary=(Mimic(), CategoryAlignment("category"))
        ), AUGMENTED
    ),
}

WHOLE = ("mind", "auxiliary_graph_neural_cf", "senet_cold")  # several interests and rerankers have their own signatures


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_from_training_to_a_loaded_export(name, tmp_path):
    model, schema = SYSTEMS[name]
    frames, truth = toy.planted()
    noise = np.random.default_rng(0).normal(0, 0.3, (toy.ITEMS, toy.CLUSTERS))
    frames["items"]["image"] = (np.eye(toy.CLUSTERS)[truth.item_cluster] + noise).tolist()
    kind = "ivf" if name in ("mind", "comirec") else "exact"  # several interests are searched in another way
    recipe = dataclasses.replace(
        toy.recipe(epochs=3), model=model, schema=schema, index=IndexConfig(kind=kind, k=10),
        evaluation=EvaluationConfig(ks=(10,), exclude_seen=False, bootstrap=200, baseline_seconds=0),
    )
    recommender = Recommender(recipe, directory=tmp_path / "run", **frames).fit(verbose=0)

    users = [f"u{u}" for u in range(40)]
    found = recommender.recommend(users, k=5, exclude_seen=False)
    of_item = truth.item_cluster[[int(i[1:]) for i in found["item_id"]]]
    of_user = truth.user_cluster[[int(u[1:]) for u in found["user_id"]]]
    assert (of_item == of_user).mean() > 0.7  # 0.25 by chance

    metrics = recommender.evaluate()
    assert metrics["test"]["recall@10"] > metrics["baselines"]["popularity"]["recall@10"]

    # The export loads what it saved, and refuses it unless its answers are those of the retriever in memory.
    with contextlib.nullcontext() if name in WHOLE else toy.two_signatures():
        path = recommender.export(tmp_path / "export")
    assert read(path)["parity"]["largest_relative_score_difference"] <= 1e-5
    features = recommender.assembly.examples.raw_queries(recommender.assembly.split.test.row[:3])
    nothing = tf.zeros([1, 0], tf.string)
    ids, scores = recommender.retriever.recommend(features, tf.constant(7), nothing, nothing, tf.constant(0.0))
    assert ids.shape == (3, 7) and all(len(set(row)) == 7 for row in ids.numpy())
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(recommender.retriever.score_pairs(features, ids), scores, rtol=1e-5, atol=1e-4)

    # What was measured is what is served.
    ids, _ = recommender.retriever.recommend(features, tf.constant(10), nothing, nothing, tf.constant(0.0), exact=True)
    evaluated = recommender.evaluations["model"].top[:3]
    np.testing.assert_array_equal(ids, tf.gather(recommender.retriever.item_ids, evaluated))

    again = Recommender.load(recommender.directory, **frames)
    assert again.recommend(users[:3], k=5).equals(recommender.recommend(users[:3], k=5))
