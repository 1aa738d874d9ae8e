"""A run and an export of an earlier version load, and answer as they did then."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower.exporting import integrity
from tfrs_twotower.recommender import Recommender

RUN = Path(__file__).parent / "fixtures" / "run"
ANSWERS = {  # what that version recommended: the items and scores of two users
    "u1": (["i52", "i19", "i88", "i79", "i59"], [9.86271, 5.38220, 3.84198, 1.38704, 0.26966]),
    "u2": (["i52", "i19", "i88", "i79", "i49"], [11.05812, 6.45305, 4.86163, 2.51997, 0.30068]),
}


@pytest.fixture(scope="module")
def loaded():
    frames, _ = toy.planted()
    return Recommender.load(RUN, **frames)


def test_the_run_answers_as_it_did(loaded):
    for user, (items, scores) in ANSWERS.items():
        found = loaded.recommend(user, k=5)
        assert found["item_id"].tolist() == items
        np.testing.assert_allclose(found["score"], scores, atol=1e-3)


def test_the_export_is_whole_and_answers_as_it_did(loaded):
    version = RUN / "export" / "1"
    integrity.check(version)
    served = tf.saved_model.load(str(version)).signatures["embed_query"]
    raw = loaded.served.examples.raw_queries(np.arange(4))
    asked = {name: raw[name] for name in served.structured_input_signature[1]}
    vectors = served(**asked)["embedding"].numpy()
    tower = loaded.served.model.query_tower
    np.testing.assert_allclose(vectors, tower(tower.encode(raw)), atol=1e-5)
