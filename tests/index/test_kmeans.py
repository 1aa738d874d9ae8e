import numpy as np

from tfrs_twotower.index import kmeans


def planted(spread=0.01):
    """Four far corners with 50 points each, in order."""
    centres = np.array([[5, 5], [5, -5], [-5, 5], [-5, -5]], np.float32)
    noise = np.random.default_rng(0).normal(scale=spread, size=(200, 2))
    return centres, (np.repeat(centres, 50, axis=0) + noise).astype(np.float32)


def test_assignment_by_hand():
    centroids = np.array([[0, 0], [10, 0]], np.float32)
    vectors = np.array([[4, 3], [6, 3], [-9, 0], [100, 0]], np.float32)
    np.testing.assert_array_equal(kmeans.assign(vectors, centroids), [0, 1, 0, 1])


def test_assignment_in_blocks_is_the_same(monkeypatch):
    vectors = np.random.default_rng(1).normal(size=(1000, 4)).astype(np.float32)
    whole = kmeans.assign(vectors, vectors[:30])
    monkeypatch.setattr(kmeans, "_BLOCK", 30 * 7)
    np.testing.assert_array_equal(kmeans.assign(vectors, vectors[:30]), whole)


def test_planted_clusters_are_found():
    centres, vectors = planted()
    for seed in range(5):
        centroids = kmeans.train(vectors, 12, seed)
        leaf = kmeans.assign(vectors, centroids)
        corner_of_leaf = np.sign(centroids[leaf])
        np.testing.assert_array_equal(corner_of_leaf, np.sign(np.repeat(centres, 50, axis=0)))


def test_same_seed_same_centroids():
    _, vectors = planted()
    np.testing.assert_array_equal(kmeans.train(vectors, 6, 3), kmeans.train(vectors, 6, 3))


def test_unit_vectors_get_unit_centroids():
    _, vectors = planted(spread=2.0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert kmeans.is_unit(vectors) and not kmeans.is_unit(2 * vectors)
    np.testing.assert_allclose(np.linalg.norm(kmeans.train(vectors, 5, 0), axis=1), 1, rtol=1e-5)


def test_empty_clusters_do_no_harm():
    vectors = np.ones((100, 3), np.float32)
    vectors[0] = -1
    centroids = kmeans.train(vectors, 20, 0)
    assert np.all(np.isfinite(centroids))
    assert kmeans.assign(vectors, centroids)[0] != kmeans.assign(vectors, centroids)[1]
