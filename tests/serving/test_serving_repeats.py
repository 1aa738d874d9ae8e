"""A model whose score counts what a user had before: the server's store says it, with and without kept vectors."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tests.exporting.given import DIM, Given, unit
from tests.exporting.test_repeats import WithPast
from tests.serving import toy_export
from tests.serving.test_serving_cache import NOW, Serving
from tfrs_twotower.exporting import Retriever, signatures
from tfrs_twotower.models import Repeats
from tfrs_twotower.online import Event, LruVectorCache

VECTORS = unit(20, seed=1)
DAY = 86_400


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("repeats")
    ids = np.array([f"i{n}" for n in range(20)], object)
    retriever = Retriever(WithPast(), Given(), VECTORS, ids, None, 1.0, np.zeros(20, np.float32),
                          repeats=Repeats(length=3, weights=(5.0,), half_lives=(1.0,)))
    tf.saved_model.save(retriever, str(root / ".1"), signatures(retriever))
    toy_export.write_manifest(str(root / ".1"), history_events=3)
    os.rename(root / ".1", root / "1")
    return str(root)


def test_the_store_says_what_was_had_before(root, stores):
    serving = Serving(root, stores, LruVectorCache(10))
    try:
        for days, item in ((9, "i9"), (2, "i3"), (1, "i5"), (0, "i5")):  # the newest three count
            stores.history.append([Event(f"{days}", "7", item, NOW - days * DAY, "")])
        vector = np.zeros([1, DIM], np.float32)
        for _ in range(2):  # of the second time the vector is kept
            found = serving.predictor.predict("", {"user_id": ["7"], "vector": vector, "k": np.int32(3)})
            assert found["ids"][0, :2].tolist() == [b"i5", b"i3"]
            expected = [5 * (1 + np.log1p(1.5)), 5 * (1 + np.log1p(0.25)), 0]
            np.testing.assert_allclose(found["scores"][0], expected, atol=1e-3)  # the time is rounded to the minute
        assert serving.lookups() == (1, 1)
    finally:
        serving.repository.close()
