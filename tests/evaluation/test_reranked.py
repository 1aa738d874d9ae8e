"""Ranks after rescoring the retrieved top, by hand."""

import numpy as np

from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import DotScorer, RerankedScorer, rank

CANDIDATES = np.array([[5.0], [4.0], [3.0], [2.0], [1.0]], np.float32)


def scorer(added, top=3, **filters):
    queries = np.ones((2, 1), np.float32)

    def rescore(start, stop, positions):
        return np.asarray(added, np.float32)[start:stop][np.arange(stop - start)[:, None], positions.numpy()]

    return RerankedScorer(DotScorer(queries, CANDIDATES), rescore, top, **filters)


def ranks(made, targets, exclude=None, **options):
    lists = Ragged.from_lengths(np.array(targets).ravel(), np.array([len(t) for t in targets]))
    return rank(made, lists, exclude, max_k=5, **options)


def test_only_the_top_changes_places():
    added = [[0.0, 0.0, 9.0, 99.0, 0.0], [-50.0, 0.0, -90.0, 0.0, 0.0]]
    found = ranks(scorer(added), [[0, 1, 2, 3, 4]] * 2)
    assert found.top.tolist() == [[2, 0, 1, 3, 4], [1, 0, 2, 3, 4]]
    assert found.ranks.tolist() == [2, 3, 1, 4, 5, 2, 1, 3, 4, 5]
    in_parts = ranks(scorer(added), [[0, 1, 2, 3, 4]] * 2, block=1)
    assert in_parts.top.tolist() == found.top.tolist()


def test_what_is_excluded_takes_no_place_in_the_top():
    added = [[0.0, 0.0, 0.0, 9.0, 99.0]] * 2
    exclude = Ragged.from_lengths(np.array([0, 1, 0, 1]), np.array([2, 2]))
    found = ranks(scorer(added, top=2, exclude=exclude), [[3], [4]], exclude)
    # 2 and 3 are the top two left; 4 would win if it were rescored
    assert found.top.tolist() == [[3, 2, 4, -1, -1]] * 2
    assert found.ranks.tolist() == [1, 3]


def test_a_top_beyond_the_catalogue_rescores_all():
    found = ranks(scorer([[0.0, 10.0, 20.0, 30.0, 40.0]] * 2, top=99), [[0], [4]])
    assert found.top.tolist() == [[4, 3, 2, 1, 0]] * 2 and found.ranks.tolist() == [5, 1]


def test_scores_stay_finite_where_all_is_excluded():
    everything = Ragged.from_lengths(np.tile(np.arange(5), 2), np.array([5, 5]))
    assert np.isfinite(scorer([[0.0] * 5] * 2, exclude=everything).scores(0, 2)).all()
