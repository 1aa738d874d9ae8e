"""What an index by item id refuses."""

import numpy as np
import pytest

from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import arguments


@pytest.mark.parametrize("ids, values, message", [
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
def test_what_is_refused(ids, values, message):
    with pytest.raises(IndexingError, match=message):
        arguments.vectors(values, len(arguments.keys(ids, str)), 3)


@pytest.mark.parametrize("value", [-1, 2**63, 1.5, True, "1"])
def test_integer_ids_are_of_64_bits(value):
    with pytest.raises(IndexingError, match="`ids` must"):
        arguments.keys([value], int)


def test_bytes_are_text_and_nothing_is_no_item():
    assert arguments.keys(np.array(["é".encode(), "b"], object), str) == ["é", "b"]
    assert arguments.keys(np.array([3, 2**63 - 1]), int) == [3, 2**63 - 1]
    assert arguments.keys([], str) == [] and arguments.vectors([], 0, 3).size == 0
