"""Trials of settings end in their time, by a clock that is counted."""

import pytest

from tfrs_twotower.pipeline.trials import Trials

VALUES = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 9.0}


@pytest.mark.parametrize("seconds, tried, chosen, untried", [
    (0.0, "a", "a", ["letters"]),  # the first is always tried
    (5.9, "a", "a", ["letters"]),  # a second would end at 6
    (9.0, "abc", "b", ["letters"]),
    (12.0, "abcd", "d", []),
    (float("inf"), "abcd", "d", []),
])
def test_a_trial_begins_if_it_ends_in_time(seconds, tried, chosen, untried):
    clock, begun, steps = [100.0], [], []

    def value(choice):
        begun.append(choice)
        clock[0] += 3.0
        return VALUES[choice]

    trials = Trials(seconds, lambda: steps.append(1), lambda: clock[0])
    assert trials.best("letters", list(VALUES), value) == chosen
    assert "".join(begun) == tried and len(steps) == len(tried) and trials.untried == untried


def test_of_equal_values_the_first_is_chosen():
    assert Trials().best("numbers", [3, 1, 2], lambda choice: 7.0) == 3


def test_the_slowest_trial_says_how_long_the_next_takes():
    clock, costs = [0.0], {"a": 1.0, "b": 5.0, "c": 1.0}

    def value(choice):
        clock[0] += costs[choice]
        return clock[0]

    trials = Trials(10.0, now=lambda: clock[0])
    assert trials.best("letters", list(costs), value) == "b"  # c, begun at 6, might end at 11
    assert trials.untried == ["letters"]
