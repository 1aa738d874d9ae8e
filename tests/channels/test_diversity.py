"""MMR by hand."""

import numpy as np

from tfrs_twotower.channels import mmr

TWINS = np.array([[2.0, 0], [1, 0], [0, 3], [1, 1]])


def test_without_diversity_the_order_stays():
    assert mmr(TWINS, 4, 0.0) == [0, 1, 2, 3] and mmr(TWINS, 2, 0.0) == [0, 1]


def test_half_diversity():
    # relevance 1, ¾, ½, ¼. First 0: ½. Then 1: .375 − .5, 2: .25 − 0, 3: .125 − .354. So 2.
    # Then 1: .375 − .5 = −.125, 3: .125 − .354 = −.229. So 1.
    assert mmr(TWINS, 4, 0.5) == [0, 2, 1, 3]
    assert mmr(TWINS, 2, 0.5) == [0, 2]


def test_how_much_relevance_counts():
    # At ¼, after 0: 1: .75 · .75 − .25 = .3125, 2: .75 · .5 = .375. At .19: .81 · .75 − .19 = .4175, .81 · .5 = .405.
    assert mmr(TWINS, 2, 0.25) == [0, 2] and mmr(TWINS, 2, 0.19) == [0, 1]


def test_the_most_unlike():
    # All are worth nothing: the first wins. Cosines with 0: 1, 0, .707. Then the largest of two: 1, .707.
    assert mmr(TWINS, 3, 1.0) == [0, 2, 3]


def test_unlike_is_better_than_unrelated():
    assert mmr(np.array([[1.0, 0], [0, 1], [-1, 0]]), 2, 1.0) == [0, 2]


def test_what_was_chosen_before_counts():
    assert mmr(TWINS, 1, 0.5, chosen=np.array([[5.0, 0]])) == [2]
    assert mmr(TWINS, 1, 0.5, chosen=np.zeros((0, 2))) == [0]


def test_few_or_none():
    assert mmr(TWINS[:1], 3, 0.5) == [0] and mmr(np.zeros((0, 2)), 3, 0.5) == []
    assert mmr(np.zeros((2, 2)), 2, 0.9) == [0, 1]
