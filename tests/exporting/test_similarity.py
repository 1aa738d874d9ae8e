"""How alike items are: values by hand, that hubs go, and one measure in the export and beside changed items."""

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import shop_export
from tfrs_twotower.exporting import Retriever, Similarity
from tfrs_twotower.exporting.similarity import measured, unit
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.current_items import CurrentItems

THREE = np.array([[2, 0], [0, 1], [0.6, 0.8]], np.float32)  # cosines: 0, .6 and .8


def test_density_by_hand():
    """Of three items the one that is nearest after the item itself counts."""
    lengths, density = measured(THREE, unit(THREE))
    np.testing.assert_allclose(lengths, [2, 1, 1])
    np.testing.assert_allclose(density, [0.6, 0.8, 0.8], atol=1e-6)
    np.testing.assert_allclose(measured(THREE[:1], unit(THREE[:1]))[1], [0])  # nothing to compare it with
    assert np.isfinite(measured(np.zeros([2, 2], np.float32), unit(THREE))[1]).all()


def test_it_is_the_mean_cosine_with_the_nearest_of_the_sample(monkeypatch):
    monkeypatch.setattr("tfrs_twotower.exporting.similarity._BLOCK", 64)  # in several blocks
    vectors = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    found = Similarity(vectors)
    assert found.sample.shape == (512, 5)
    cosines = np.sort(unit(vectors) @ found.sample.numpy().T)[:, ::-1]
    np.testing.assert_allclose(found.density, cosines[:, 1:16].mean(axis=1), atol=1e-5)  # 3% of 512 are 15


def retriever(vectors, similarity):
    query, candidate = shop_export.Query(), shop_export.Candidate()
    ids = [f"i{n}" for n in range(len(vectors))]
    return Retriever(query, candidate, vectors, tf.constant(ids), None, 0.5, np.zeros(len(ids), np.float32),
                     similarity=similarity)


def test_a_hub_is_not_near_to_all():
    """400 items, each with a twin at a cosine of .8, the others at .83², and one more item at .83 to all of them.

    Of the nearest twelve (3% of 401) the mean cosine is .83 for the hub and (.83 + .8 + 10 · .83²) / 12 for the others.
    """
    twins, own = np.repeat(np.eye(200), 2, axis=0), np.eye(400)
    parts = [np.full([400, 1], 0.83), twins * np.sqrt(0.8 - 0.83**2), own * np.sqrt(0.2)]
    vectors = np.concatenate([np.concatenate(parts, axis=1), np.eye(1, 601)]).astype(np.float32)
    asked = tf.constant(["i0", "i1", "i7", "i200"])
    plain = retriever(vectors, None).similar_items(asked, tf.constant(1))
    assert plain[0].numpy().ravel().astype(str).tolist() == ["i400"] * 4
    ids, found = retriever(vectors, Similarity(vectors)).similar_items(asked, tf.constant(2))
    assert ids.numpy().astype(str).tolist() == [["i1", "i400"], ["i0", "i400"], ["i6", "i400"], ["i201", "i400"]]
    near = (0.83 + 0.8 + 10 * 0.83**2) / 12
    np.testing.assert_allclose(found, [[1.6 - 2 * near, 1.66 - near - 0.83]] * 4, atol=1e-5)


@pytest.fixture
def items():
    vectors = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    made = retriever(vectors, Similarity(vectors))
    return vectors, made, Catalogue(made, None)


def scores(a, b, sample):
    """2 cos − r − r', of two vectors."""
    density = [measured(v[np.newaxis], sample)[1][0] for v in (a, b)]
    return 2 * a @ b / np.linalg.norm(a) / np.linalg.norm(b) - sum(density)


def test_the_signature_and_a_server_with_changed_items_agree(items):
    vectors, made, catalogue = items
    sample = made.similarity.sample.numpy()
    ids, found = (t.numpy()[0] for t in made.similar_items(tf.constant(["i3"]), tf.constant(29)))
    expected = {f"i{n}": scores(vectors[3], v, sample) for n, v in enumerate(vectors) if n != 3}
    assert ids.astype(str).tolist() == sorted(expected, key=expected.get, reverse=True)
    np.testing.assert_allclose(found, sorted(expected.values(), reverse=True), atol=1e-5)

    unchanged = CurrentItems(catalogue)
    assert [i for i, _ in unchanged.similar("i3", 29)] == ids.astype(str).tolist()
    new = np.array([1, 2, 3, 4], np.float32)
    changed = dict(unchanged.after({"new": ({}, new), "i5": None}).similar("i3", 40))
    assert "i5" not in changed and changed["new"] == pytest.approx(scores(vectors[3], new, sample), abs=1e-5)
    assert all(changed[i] == pytest.approx(s, abs=1e-5) for i, s in expected.items() if i != "i5")
