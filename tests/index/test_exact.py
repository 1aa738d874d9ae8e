import numpy as np
import tensorflow as tf

from tfrs_twotower.index import Exact, exact


def test_large_batches_are_searched_in_parts_with_the_same_answer(monkeypatch):
    generator = np.random.default_rng(0)
    index = Exact(generator.normal(size=(300, 4)))
    queries = generator.normal(size=(50, 4)).astype(np.float32)
    whole = index.search(queries, 7)
    monkeypatch.setattr(exact, "_MAX_SCORES", 384 * 8)  # 8 queries a part, the last part not full
    for search in (index.search, tf.function(index.search)):
        parts = search(queries, tf.constant(7))
        np.testing.assert_array_equal(parts.rows, whole.rows)
        np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-6)
