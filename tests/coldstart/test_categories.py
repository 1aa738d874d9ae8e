"""What stands for a category: items and vectors, by hand."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.coldstart import CategoryMeans, representatives
from tfrs_twotower.errors import DataError

ITEMS = pa.table({
    "item_id": [10, 11, 12, 13, 14],
    "genres": [["a", "b"], ["a"], ["b"], None, ["a", "c"]],
    "shelf": pa.array([1, 1, 2, None, 2]),
})
COUNTS = np.array([3, 5, 5, 9, 0])


def test_the_most_popular_items_stand_for_a_category():
    assert representatives(ITEMS, "genres", COUNTS) == {"a": ["11", "10"], "b": ["12", "10"]}  # nobody took 14
    assert representatives(ITEMS, "genres", COUNTS, n=1) == {"a": ["11"], "b": ["12"]}
    assert representatives(ITEMS, "shelf", np.ones(5), n=1) == {"1": ["10"], "2": ["12"]}  # equal: the first row
    with pytest.raises(DataError, match="no column `genre`. Did you mean `genres`"):
        representatives(ITEMS, "genre", COUNTS)


def test_an_item_gets_the_mean_of_its_categories_means():
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [9, 9], [7, 7]], np.float32)
    means = CategoryMeans(vectors, ITEMS, "genres", known=COUNTS > 0)
    new = pa.table({"genres": [["a"], ["b", "x"], ["b", "a"], ["c"], None]})
    expected = [[0.5, 0.5], [0.8, 0.4], [0.65, 0.45], [0, 0], [0, 0]]  # a: 10 and 11; b: 10 and 12; c: 14 is not known
    np.testing.assert_allclose(means.vectors(new, "genres", unit=False), expected, atol=1e-6)
    unit = means.vectors(new, "genres", unit=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), [1, 1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(unit[0], [0.5**0.5] * 2, atol=1e-6)
