"""How validation chooses: by hand."""

import numpy as np
import pytest

from tfrs_twotower.models import clearly_better, climbed


@pytest.mark.parametrize("highest", range(5))
def test_a_climb_finds_the_highest_of_what_rises_to_one_peak(highest):
    assert climbed(range(5), lambda choice: -abs(choice - highest)) == highest


def test_a_climb_stays_on_a_plain_and_tries_no_more_than_what_is_beside_it():
    tried = []
    assert climbed((1.0, 2.0, 3.0, 4.0, 5.0), lambda choice: tried.append(choice) or 0.0) == 3.0
    assert sorted(tried) == [2.0, 3.0, 4.0]


def test_better_means_by_more_than_a_standard_error_and_the_least():
    other = np.array([0.0, 0.0, 0.0, 0.0, np.nan])
    one = np.array([0.0, 0.0, 2.0, 2.0, 9.0])  # a mean of 1, a deviation of 1: a standard error of 1 / 2
    assert clearly_better(one, other) and not clearly_better(other, one)
    assert not clearly_better(one - 0.6, other)  # a mean of .4
    assert not clearly_better(one, other, least=1.5)
