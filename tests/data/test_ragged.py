import numpy as np
import pytest

from tfrs_twotower.data import Ragged
from tfrs_twotower.errors import DataError


def test_rows_by_hand():
    ragged = Ragged.from_lists([[4, 2], [], [7]])
    assert ragged.values.tolist() == [4, 2, 7]
    assert ragged.offsets.tolist() == [0, 2, 2, 3]
    assert ragged.lengths.tolist() == [2, 0, 1]
    assert [ragged.row(i).tolist() for i in range(len(ragged))] == [[4, 2], [], [7]]
    with pytest.raises(IndexError):
        ragged.row(3)


def test_take_repeats_and_reorders():
    taken = Ragged.from_lists([[4, 2], [], [7]]).take(np.array([2, 0, 1, 0]))
    assert [taken.row(i).tolist() for i in range(4)] == [[7], [4, 2], [], [4, 2]]


def test_padded_to_a_width():
    ragged = Ragged.from_lists([[4, 2, 9], [], [7]])
    assert ragged.padded(np.array([2, 0, 1]), 2).tolist() == [[7, -1], [4, 2], [-1, -1]]


def test_no_rows():
    assert len(Ragged.from_lists([])) == 0
    assert Ragged.from_lists([[], []]).padded(np.array([1]), 2).tolist() == [[-1, -1]]


def test_offsets_must_fit_the_values():
    with pytest.raises(DataError, match="offsets"):
        Ragged(np.zeros(2, np.int32), np.array([0, 3]))
