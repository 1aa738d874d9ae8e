"""Real exports of both flavours, loaded as TF Serving loads them: TensorFlow's C API, no Python, no TFRS."""

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import capi
from tfrs_twotower import columns as c
from tfrs_twotower.index import IndexConfig


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return capi.compile_loader(str(tmp_path_factory.mktemp("capi")))


@pytest.mark.parametrize("kind", ["exact", "ivf", "scann"])
def test_the_c_api_gives_the_same_ids_and_scores(kind, program, trained, tmp_path):
    library = capi.scann_library() if kind == "scann" else None
    trained.index(IndexConfig(kind=kind, k=10))
    export = trained.export(tmp_path)
    a = trained.assembly
    features = a.examples.raw_queries(a.split.test.row[:4])
    nothing = tf.zeros([1, 0], tf.string)
    ids, scores = trained.retriever.recommend(features, tf.constant(7), nothing, nothing, tf.constant(0.0))
    raw = {name: np.asarray(value).astype(str) if value.dtype == tf.string else value.numpy()
           for name, value in features.items()}
    answer = capi.run(program, export, {**raw, c.K: np.int32(7)}, op_library=library)
    assert np.array_equal(answer[c.IDS], ids.numpy())
    np.testing.assert_allclose(answer[c.SCORES], scores.numpy(), rtol=1e-5, atol=1e-5)
