"""Lists that one model showed, and what they say of its lists and another model's: people whose tastes are known."""

import numpy as np
import pytest

from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import PerQuery, compare, compare_lists
from tfrs_twotower.updates.gate import refusal

ANSWERS, ITEMS, SHOWN = 400, 300, 10


class Scores:
    """A `Scorer` of a table."""

    def __init__(self, table):
        self.table, (self.size, self.catalogue) = table, table.shape

    def scores(self, start, stop):
        return self.table[start:stop]


def world(kind, seed):
    """(serving scores, updated scores, items seen, chosen, expected choices of both models' lists)."""
    random = np.random.default_rng(seed)
    taste = random.normal(size=(ANSWERS, ITEMS))
    serving = taste + random.normal(size=taste.shape)
    updated = {
        "better": lambda: serving + 0.3 * (taste - serving),
        "worse": lambda: serving + 0.6 * random.normal(size=taste.shape),
        "another, better": lambda: taste + 0.6 * random.normal(size=taste.shape),
        "another, worse": lambda: taste + 1.6 * random.normal(size=taste.shape),
        "the same": lambda: 3 * serving + 1,
    }[kind]()
    chance = 1 / (1 + np.exp(-2 * (taste - 2)))
    shown = np.argsort(-serving, axis=1)[:, :SHOWN]
    lists = shown, np.argsort(-updated, axis=1)[:, :SHOWN]
    chosen = random.random(shown.shape) < np.take_along_axis(chance, shown, 1)
    good = (chosen.sum(1) > 0) & (chosen.sum(1) < SHOWN)
    assert good.sum() > ANSWERS // 2
    expected = [np.take_along_axis(chance, one, 1).mean() for one in lists]
    return Scores(serving[good]), Scores(updated[good]), shown[good], chosen[good], expected


def verdict(kind, seed=0):
    serving, updated, shown, chosen, expected = world(kind, seed)
    found = compare_lists(serving, updated, Ragged.from_lists(shown), chosen.ravel())
    return refusal("choices", found.first, found.second, found.interval, "answers"), found, expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "accepted"), [
    ("better", True), ("worse", False), ("another, better", True), ("another, worse", False), ("the same", True),
])
def test_the_better_lists_pass_whoever_made_those_that_were_shown(kind, accepted, seed):
    reason, found, expected = verdict(kind, seed)
    assert (reason is None) == accepted
    assert accepted == (expected[1] >= expected[0])
    if kind == "the same":
        assert found.first == pytest.approx(found.second) and np.ptp(found.interval) < 1e-9


def test_to_find_what_was_chosen_and_to_order_lists_are_both_misleading():
    """Why the gate does neither: the one favours the model that made the lists, the other the one that did not."""
    serving, updated, shown, chosen, expected = world("another, better", 0)
    hits = [[(chosen[i] & np.isin(shown[i], np.argsort(-model.table[i])[:SHOWN])).sum() for i in range(len(shown))]
            for model in (serving, updated)]
    by_hits = compare(*(PerQuery({"hits": np.array(found, float)}, "") for found in reversed(hits)))["hits"]
    assert by_hits["interval"][1] < 0 and expected[1] > expected[0]
    serving, updated, shown, chosen, expected = world("another, worse", 0)
    right = []
    for model in (serving, updated):
        own = np.take_along_axis(model.table, shown, 1)
        pairs = chosen[:, :, np.newaxis] & ~chosen[:, np.newaxis]
        right.append(((own[:, :, np.newaxis] > own[:, np.newaxis]) & pairs).sum() / pairs.sum())
    assert right[1] > right[0] and expected[1] < expected[0]


def test_what_neither_model_would_show_is_in_no_list():
    """Item 3 is the best of both, and excluded: so the serving list is what was seen, and its share what was chosen."""
    scores = np.tile([5.0, 4.0, 3.0, 9.0, 0.0, 1.0], (40, 1)).astype(np.float32)
    items = Ragged.from_lists([[0, 1]] * 40)
    other = Scores(scores[:, [1, 0, 2, 3, 4, 5]].copy())  # swaps the two that were seen
    found = compare_lists(Scores(scores), other, items, np.tile([True, False], 40), Ragged.from_lists([[3]] * 40))
    assert found.first == pytest.approx(0.5) and found.second == pytest.approx(0.5) and found.answers == 40
    found = compare_lists(Scores(scores), other, items, np.tile([True, False], 40))
    assert found.first > 0.5  # a list of item 3 and item 0
