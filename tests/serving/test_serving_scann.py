"""Versions that search by ScaNN: their ops are loaded first, and their searchers end with them."""

import gc

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import toy_export
from tfrs_twotower.serving import Predictor, Repository

scann_ops = pytest.importorskip("scann", reason="scann has no wheel here").scann_ops
VECTORS = np.eye(16, 8, dtype=np.float32) + np.eye(16, 8, k=-8, dtype=np.float32) / 2


@pytest.fixture(scope="module")
def scann_export(tmp_path_factory):
    return toy_export.write_scann(tmp_path_factory.mktemp("scann"), 1, VECTORS)


def searcher_of(repository):
    """The handle of the ScaNN searcher of the version that serves."""
    with repository.lease() as model:
        return model.root.state.recreate_handle()


def is_alive(searcher):
    try:
        scann_ops.scann_search(searcher, np.ones(8, np.float32), 1, 1, 1)
    except tf.errors.NotFoundError:
        return False
    return True


def swap(root, made, version):
    (root / str(version)).symlink_to(made)


def test_the_ops_of_an_export_are_loaded_first(tmp_path, scann_export):
    swap(tmp_path, scann_export, 1)
    repository = Repository(tmp_path)
    repository.poll()
    found = Predictor(repository).predict("", {"query": VECTORS[:2], "k": np.int32(2)})
    assert found["ids"].tolist() == [[b"0", b"8"], [b"1", b"9"]]
    np.testing.assert_allclose(found["scores"], [[1.0, 0.5], [1.0, 0.5]])


def test_swaps_leave_one_searcher(tmp_path, scann_export):
    repository, searchers = Repository(tmp_path), []
    for version in range(10):
        swap(tmp_path, scann_export, version)
        repository.poll()
        searchers.append(searcher_of(repository))
    assert [is_alive(searcher) for searcher in searchers] == [False] * 9 + [True]
    repository.close()
    assert not is_alive(searchers[-1])


def test_a_request_in_flight_holds_its_searcher(tmp_path, scann_export):
    swap(tmp_path, scann_export, 1)
    repository, query = Repository(tmp_path), {"query": np.eye(1, 8, dtype=np.float32)}
    repository.poll()
    searcher = searcher_of(repository)
    with repository.lease() as model:
        swap(tmp_path, scann_export, 2)
        repository.poll()
        assert repository.available() == [2]
        answer = Predictor(repository).run(model, model.signature(), query)
        assert answer["ids"].tolist() == [[b"0", b"8", b"1"]] and is_alive(searcher)
    del model
    repository.poll()
    assert not is_alive(searcher)


def test_a_version_that_is_refused_leaves_no_searcher(tmp_path, scann_export):
    searchers = []

    def broken(model):
        searchers.append(model.root.state.recreate_handle())
        raise ValueError("broken")

    swap(tmp_path, scann_export, 1)
    repository = Repository(tmp_path, warm=broken)
    repository.poll()
    gc.collect()
    assert [status.error for status in repository.statuses()] == ["ValueError: broken"]
    assert not is_alive(searchers[0])
