"""Slices by hand."""

import numpy as np
import pytest

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation.slices import popularity_deciles, slice_masks


def test_deciles_of_distinct_counts():
    assert popularity_deciles(np.arange(20)[::-1]).tolist() == np.repeat(np.arange(10, 0, -1), 2).tolist()


def test_equal_counts_share_a_decile():
    # Half the catalogue is never sold: it is decile 1, and 2 to 5 are empty.
    assert popularity_deciles([0, 0, 0, 0, 0, 1, 2, 3, 4, 5]).tolist() == [1, 1, 1, 1, 1, 6, 7, 8, 9, 10]
    assert popularity_deciles([4, 4, 4]).tolist() == [1, 1, 1]


def test_masks_by_hand():
    targets = Ragged.from_lists([[0, 9], [-1], [5]])
    masks = slice_masks(targets, [0, 0, 2, 3, 4, 5, 6, 7, 8, 9], cold_users=[False, True, False])
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "item_decile_1": [True, False, False, False],
        "item_decile_6": [False, False, False, True],
        "item_decile_10": [False, True, False, False],
        "cold_items": [True, False, True, False],
        "warm_items": [False, True, False, True],
        "cold_users": [False, False, True, False],
        "warm_users": [True, True, False, True],
    }


def test_no_slices_by_user_unless_asked_and_none_that_is_empty():
    assert set(slice_masks(Ragged.from_lists([[1]]), [1, 2])) == {"item_decile_6", "warm_items"}


def test_cold_users_must_fit_the_queries():
    with pytest.raises(EvaluationError, match=r"`cold_users` must have shape \(1,\)"):
        slice_masks(Ragged.from_lists([[1]]), [1, 2], cold_users=[True, False])
