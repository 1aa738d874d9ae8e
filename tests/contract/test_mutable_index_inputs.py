"""What an index that changes refuses, and that a refusal changes nothing."""

import numpy as np
import pytest
from flat_index import Flat

from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index.mutable import MutableIndex

DIM = 3


@pytest.mark.parametrize("ids, vectors, message", [
    (["a"], [[1, 2]], r"`vectors` must have the shape \[1, 3\]"),
    (["a"], [[1, 2, 3], [1, 2, 3]], r"`vectors` must have the shape \[1, 3\]"),
    ([], [[1, 2, 3]], r"`vectors` must have the shape \[0, 3\]"),
    (["a", "b"], [[1, 2, 3], [1, np.nan, 3]], "`vectors` must be finite.*first row 1"),
    (["a"], [[1, np.inf, 3]], "`vectors` must be finite"),
    ([""], [[1, 2, 3]], "`ids` must not hold the missing id"),
    ([7], [[1, 2, 3]], "`ids` must be text in UTF-8.*ids=7"),
    (["\ud800"], [[1, 2, 3]], "`ids` must be text in UTF-8"),
    ([b"\xff"], [[1, 2, 3]], "`ids` must be text in UTF-8"),
    ("abc", np.zeros((3, 3)), "`ids` must be a list"),
])
def test_what_is_refused_changes_nothing(ids, vectors, message):
    index = MutableIndex(Flat, DIM)
    index.upsert(["kept"], [[1, 1, 1]])
    with pytest.raises(IndexingError, match=message):
        index.upsert(ids, vectors)
    assert index.search([[1, 1, 1]], 2).ids.tolist() == [["kept", ""]]


@pytest.mark.parametrize("value", [-1, 2**63, 1.5, True, "1"])
def test_integer_ids_are_of_64_bits(value):
    index = MutableIndex(Flat, DIM, int)
    with pytest.raises(IndexingError, match="`ids` must"):
        index.upsert([value], [[1, 1, 1]])
    with pytest.raises(IndexingError, match="`ids` must"):
        index.delete([value])


@pytest.mark.parametrize("queries, k, message", [
    ([[1, 2]], 1, r"`queries` must have shape \[batch, 3\]"),
    ([1, 2, 3], 1, r"`queries` must have shape \[batch, 3\]"),
    ([[1, 2, np.nan]], 1, "`queries` must be finite"),
    ([[1, 2, 3]], 0, "`k` must be an integer of at least 1"),
    ([[1, 2, 3]], 1.5, "`k` must be an integer of at least 1"),
])
def test_queries_are_checked(queries, k, message):
    with pytest.raises(IndexingError, match=message):
        MutableIndex(Flat, DIM).search(queries, k)
