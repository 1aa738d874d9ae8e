"""What was seen is excluded from both sides, and what is asked fits whether people come back to items."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_twotower.data import Queries
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation import (
    ALL,
    DISCOVERY,
    REPEATS,
    EvaluationConfig,
    chosen,
    evaluate,
    repeat_share,
    viewed,
    views,
)

CATALOGUE = 8


class Table:
    """A scorer that holds its scores."""

    def __init__(self, rows):
        self._rows = np.asarray(rows, np.float32)
        self.size, self.catalogue = self._rows.shape

    def scores(self, start, stop):
        return self._rows[start:stop]


def queries(targets, seen):
    rows = np.arange(len(targets))
    return Queries(rows.astype(np.int32), rows, rows, Ragged.from_lists(targets), Ragged.from_lists(seen))


def lists(ragged):
    return [ragged.row(i).tolist() for i in range(len(ragged))]


def test_views_by_hand(monkeypatch):
    asked = queries([[1, 2], [3], [4]], [[2, 5], [], [4]])
    assert repeat_share(asked) == 0.5
    targets, excluded = viewed(asked, DISCOVERY)
    assert lists(targets) == [[1], [3], []] and lists(excluded) == [[2, 5], [], [4]]
    targets, excluded = viewed(asked, REPEATS)
    assert lists(targets) == [[2], [], [4]] and excluded is None
    targets, excluded = viewed(asked, ALL)
    assert lists(targets) == [[1, 2], [3], [4]] and excluded is None
    monkeypatch.setattr(views, "is_in", None)
    assert repeat_share(asked) == 0.5  # of the same queries it is computed once


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(-1, 5)), st.lists(st.integers(0, 5)))))
def test_is_in_is_membership_within_a_row(rows):
    targets, seen = ([row[side] for row in rows] for side in (0, 1))
    found = views.is_in(Ragged.from_lists(targets), Ragged.from_lists(seen)).tolist()
    assert found == [value in known for row, known in rows for value in row]


@pytest.mark.parametrize(("repeats", "asked_for", "resolved", "said"), [
    (6, None, False, "6.0% of the validation targets.*repeats count, nothing is excluded"),
    (5, None, True, "5.0% of the validation targets.*seen items are excluded, as targets too"),
    (6, True, True, "leaves them out of the figures"),
    (5, True, True, None),
    (6, False, False, None),
])
def test_the_protocol_fits_the_data(repeats, asked_for, resolved, said):
    asked = queries([[1]] * 100, [[1]] * repeats + [[2]] * (100 - repeats))
    found, line = chosen(EvaluationConfig(exclude_seen=asked_for), asked)
    assert found is resolved
    assert line is None if said is None else re.search(said, line)


def test_a_query_whose_targets_were_all_seen_is_dropped_and_counted():
    scores = np.tile([4.0, 3.0, 2.0, 1.0], (3, 1))
    targets, seen = Ragged.from_lists([[0, 1], [0], [3]]), Ragged.from_lists([[0], [0], []])
    found = evaluate(Table(scores), targets, seen, np.ones(4), ks=(1, 4), bootstrap=20)
    assert (found.queries, found.dropped, found.targets) == (2, 1, 2)
    # Query 0 finds item 1 at the top, as 0 is out; query 2 finds item 3 in the last of four places.
    assert found.metrics["recall@1"] == 0.5 and found.metrics["mrr"] == pytest.approx((1 + 1 / 4) / 2)
    assert found.metrics["coverage@1"] == 2 / 4  # items 1 and 0: the dropped query recommends nothing
    assert np.isnan(found.per_query["mrr"][1]) and np.isnan(found.per_query["novelty@1"][1])
    assert all(np.isfinite(bound).all() for bound in found.intervals.values())


def test_where_all_was_seen_the_way_out_is_said():
    everything = Ragged.from_lists([[0], [1]])
    with pytest.raises(EvaluationError, match="all 2 queries without the seen items.*exclude_seen=False"):
        evaluate(Table(np.zeros((2, 4))), everything, everything, np.ones(4))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_scorer_gains_from_a_seen_items_score(data):
    """Whatever a scorer gives to what was seen, no figure moves."""
    size = data.draw(st.integers(1, 5))
    items = st.integers(0, CATALOGUE - 1)
    targets = [data.draw(st.lists(items, min_size=1, max_size=4, unique=True)) for _ in range(size)]
    seen = [data.draw(st.lists(items, max_size=5, unique=True)) for _ in range(size)]
    if all(set(t) <= set(s) for t, s in zip(targets, seen)):
        return
    scores = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size * CATALOGUE, max_size=size * CATALOGUE)))
    scores = scores.reshape(size, CATALOGUE).astype(np.float32)
    raised = scores.copy()
    for row, known in enumerate(seen):
        for item in known:
            raised[row, item] = data.draw(st.sampled_from([-1e6, 0.0, 2.5, 1e6]))
    before, after = (
        evaluate(Table(s), Ragged.from_lists(targets), Ragged.from_lists(seen), np.arange(CATALOGUE), ks=(1, 3, 20),
                 bootstrap=0) for s in (scores, raised)
    )
    assert before.metrics == after.metrics and before.slices == after.slices
    np.testing.assert_array_equal(before.top, after.top)
