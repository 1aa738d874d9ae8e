"""Ranks by hand, and against the definition written out in loops."""

import pickle

import numpy as np
import pytest

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation import DotScorer, SumScorer, rank, scorers
from tfrs_twotower.evaluation.best_of_rows import best_of_rows
from tfrs_twotower.evaluation.ranking import rank_each


class Table:
    """A scorer that holds its scores."""

    def __init__(self, rows):
        self._rows = np.asarray(rows, np.float32)
        self.size, self.catalogue = self._rows.shape

    def scores(self, start, stop):
        self.blocks = [*getattr(self, "blocks", []), (start, stop)]
        return self._rows[start:stop]


def places_by_definition(scores, targets, excluded):
    """One query: {target: (candidates that score higher, candidates of the same score)}."""
    ranked = [c for c in range(len(scores)) if c not in excluded]
    return {
        target: (sum(scores[c] > scores[target] for c in ranked), sum(scores[c] == scores[target] for c in ranked))
        for target in sorted(targets - excluded)
    }


def test_ranks_by_hand():
    scores = [[0.1, 0.9, 0.5, 0.7], [4.0, 3.0, 2.0, 1.0]]
    ranking = rank(Table(scores), Ragged.from_lists([[2], [0, 3]]), max_k=3)
    assert ranking.ranks.tolist() == [3, 1, 4]  # 4 is max_k + 1: the last place is beyond
    assert ranking.first_rank.tolist() == [3, 1]
    assert ranking.top.tolist() == [[1, 3, 2], [0, 1, 2]]


def test_a_constant_model_ranks_as_chance_does():
    queries, catalogue = 4000, 50
    targets = np.random.default_rng(0).integers(0, catalogue, queries)
    ranking = rank(Table(np.ones((queries, catalogue))), Ragged.from_lists(targets[:, None]), max_k=10)
    assert np.mean(ranking.ranks <= 10) == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / queries) ** 0.5)
    assert np.bincount(ranking.first_rank, minlength=51)[1:] == pytest.approx(80, abs=4.5 * 80 ** 0.5)
    assert ranking.top[0].tolist() == list(range(10))


def test_counts_of_noise_rank_as_chance_does():
    """Popularity of few events has many ties. They are no disadvantage beside scores without ties."""
    rng = np.random.default_rng(1)
    queries, catalogue = 3000, 300
    counts = np.bincount(rng.integers(0, catalogue, 200), minlength=catalogue)
    targets = Ragged.from_lists(rng.integers(0, catalogue, (queries, 2)))
    ranking = rank(Table(np.tile(counts, (queries, 1))), targets, max_k=100)
    found = np.mean(ranking.ranks <= 100)
    assert found == pytest.approx(1 / 3, abs=4 * (2 / 9 / (2 * queries)) ** 0.5)


def test_targets_that_tie_share_the_places_of_their_score():
    #         target, target, negative, negative, above
    scores = np.tile([2.0, 2.0, 2.0, 1.0, 3.0], (3000, 1))
    ranks = rank(Table(scores), Ragged.from_lists([[0, 1]] * 3000), max_k=5).ranks.reshape(-1, 2)
    pairs, times = np.unique(ranks, axis=0, return_counts=True)
    assert pairs.tolist() == [[2, 3], [2, 4], [3, 2], [3, 4], [4, 2], [4, 3]]
    assert times == pytest.approx(500, abs=4.5 * 500 ** 0.5)


def test_targets_that_tie_at_the_edge_of_k():
    ranking = rank(Table([[5.0, 5.0, 1.0]]), Ragged.from_lists([[0, 1]]), max_k=1)
    assert sorted(ranking.ranks) == [1, 2] and ranking.first_rank.tolist() == [1]
    ranking = rank(Table([[5.0, 5.0, 5.0]] * 900), Ragged.from_lists([[0, 1]] * 900), max_k=1)
    hits = (ranking.ranks.reshape(-1, 2) == 1).sum(axis=1)
    assert set(hits) == {0, 1} and hits.mean() == pytest.approx(2 / 3, abs=0.07)
    assert (ranking.first_rank[hits == 0] == 2).all()


def test_seen_items_are_neither_ranked_nor_targets():
    scores = [[9.0, 8.0, 7.0, 6.0]] * 2
    targets, seen = Ragged.from_lists([[2, 3], [0]]), Ragged.from_lists([[0, 2, -1], [0]])
    ranking = rank(Table(scores), targets, seen, max_k=4)
    assert [ranking.targets.row(i).tolist() for i in (0, 1)] == [[3], []]
    assert ranking.ranks.tolist() == [2] and ranking.first_rank.tolist() == [2, 0]
    assert ranking.top.tolist() == [[1, 3, -1, -1], [-1] * 4]  # nothing is ranked without a target


def test_unknown_targets_are_misses_and_repeated_targets_count_once():
    ranking = rank(Table([[1.0, 2.0], [1.0, 2.0]]), Ragged.from_lists([[1, -1, 1, -1], [-1]]), max_k=2)
    assert ranking.targets.row(0).tolist() == [-1, -1, 1]
    assert ranking.ranks.tolist() == [3, 3, 1, 3]
    assert ranking.first_rank.tolist() == [1, 0]


def test_k_beyond_the_catalogue():
    ranking = rank(Table([[1.0, 3.0, 2.0]]), Ragged.from_lists([[0]]), max_k=10)
    assert ranking.ranks.tolist() == [3]
    assert ranking.top.tolist() == [[1, 2, 0] + [-1] * 7]


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("max_k", [1, 3, 20, 200])
def test_equals_the_definition_for_any_ties_and_any_block(levels, max_k):
    generator = np.random.default_rng(levels * 1000 + max_k)
    queries, catalogue = 24, 90
    scores = generator.integers(0, levels, (queries, catalogue)).astype(np.float32)
    targets = [generator.choice(catalogue, generator.integers(1, 9), replace=False) for _ in range(queries)]
    seen = [generator.choice(catalogue, generator.integers(0, 60), replace=False) for _ in range(queries)]
    places, tops = [], []
    for row, wanted, known in zip(scores, targets, seen):
        places.append(list(places_by_definition(row, set(wanted), set(known)).values()))
        left = [c for c in range(catalogue) if c not in known]
        best = sorted(left, key=lambda c: (-row[c], c))[:max_k] if set(wanted) - set(known) else []
        tops.append(best + [-1] * (max_k - len(best)))
    rankings = [
        rank(Table(scores), Ragged.from_lists(targets), Ragged.from_lists(seen), max_k, block) for block in (None, 1, 7)
    ]
    first = rankings[0]
    for ranking in rankings:
        assert ranking.ranks.tolist() == first.ranks.tolist()
        assert ranking.first_rank.tolist() == first.first_rank.tolist()
        assert ranking.top.tolist() == tops
    for query, expected in enumerate(places):
        ranks = first.ranks[first.targets.offsets[query]: first.targets.offsets[query + 1]]
        for found, (higher, tied) in zip(ranks, expected, strict=True):
            assert min(higher + 1, max_k + 1) <= found <= min(higher + tied, max_k + 1)
        inside = ranks[ranks <= max_k]
        assert len(set(inside)) == len(inside)
        higher = min((place[0] for place in expected), default=0)
        best = [tied for at, tied in expected if at == higher]
        # Of n targets on the best score, one has a place that leaves n − 1 places behind it.
        assert (higher < first.first_rank[query] <= higher + best[0] - len(best) + 1) if best else (
            first.first_rank[query] == 0)
        if len(inside):
            assert first.first_rank[query] == inside.min()


@pytest.mark.parametrize("levels", [1, 4, 10**6])
@pytest.mark.parametrize("size, depth", [(1, 1), (50, 50), (700, 11), (5003, 101)])
def test_the_largest_scores_with_ties_by_position(levels, size, depth):
    """A stable sort of whole rows; 700 and 5,003 columns are cut into groups that leave a rest."""
    scores = np.random.default_rng(size).integers(0, levels, (6, size)).astype(np.float32)
    scores[0], scores[1, size // 2:], scores[2, : size // 2] = -np.inf, -np.inf, -np.inf
    values, columns = best_of_rows(scores, depth)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    assert columns.tolist() == expected.tolist()
    assert values.tolist() == np.take_along_axis(scores, expected, axis=1).tolist()


def test_two_views_of_a_scorer_are_ranked_as_alone_and_scored_once():
    rng = np.random.default_rng(0)
    one, other = (Table(rng.integers(0, 9, (10, 40))) for _ in range(2))
    targets, seen = (Ragged.from_lists(rng.permuted(np.tile(np.arange(40), (10, 1)), axis=1)[:, :5]) for _ in range(2))
    asked = [(one, targets, None), (one, targets, seen), (other, seen, None)]
    together = rank_each(asked, max_k=7, block=4)
    assert one.blocks == other.blocks == [(0, 4), (4, 8), (8, 10)]
    for found, alone in zip(together, (rank(*each, max_k=7) for each in asked)):
        for name in ("ranks", "first_rank", "top"):
            assert getattr(found, name).tolist() == getattr(alone, name).tolist()


def test_a_sum_of_scorers_by_hand():
    first, second = Table([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), Table([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    own = Ragged.from_lists([[2], [0, 1]]), np.array([100.0, 200.0, 300.0], np.float32)
    all_terms = SumScorer([(first, 1.0), (second, 10.0)], np.array([0.5, 0.0, 0.0], np.float32), own)
    for _ in range(2):
        assert all_terms.scores(0, 2).tolist() == [[11.5, 2.0, 103.0], [204.5, 315.0, 6.0]]
        assert SumScorer([(first, 1.0)]).scores(0, 2).tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert all_terms.scores(1, 2).tolist() == [[204.5, 315.0, 6.0]]


def test_products_of_some_queries_are_computed_once_and_kept(monkeypatch):
    computed = []
    monkeypatch.setattr(scorers, "rows_at_once", lambda catalogue: 4)
    monkeypatch.setattr(
        scorers, "best_of_interests", lambda score, queries: computed.append(queries[:, 0].tolist()) or score(queries)
    )
    own = Ragged.from_lists([[1]] + [[]] * 5), np.array([0.5], np.float32)
    scorer = DotScorer(np.arange(6.0)[:, np.newaxis], np.array([[1.0], [2.0]]), np.array([10.0, 0.0]), own)
    for _ in range(2):  # what is added to products is not added to those that are kept
        assert [scorer.scores(i, i + 1).tolist() for i in range(4)] == [
            [[10.0, 0.5]], [[11.0, 2.0]], [[12.0, 4.0]], [[13.0, 6.0]]]
    assert scorer.scores(4, 6).tolist() == [[14.0, 8.0], [15.0, 10.0]]
    assert computed == [[0, 1, 2, 3], [4, 5]]
    assert scorer.scores(3, 5).tolist() == [[13.0, 6.0], [14.0, 8.0]]  # of two of these groups
    assert pickle.loads(pickle.dumps(scorer)).scores(0, 1).tolist() == [[10.0, 0.5]]
    assert computed[2:] == [[3, 4], [0, 1, 2, 3]]


def test_dot_scorer_takes_the_best_interest():
    queries = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    scorer = DotScorer(queries, np.array([[3.0, 1.0], [1.0, 2.0]]))
    assert scorer.scores(0, 1).tolist() == [[3.0, 4.0]]
    assert (scorer.size, scorer.catalogue) == (1, 2)


def test_vectors_that_are_not_finite_are_an_error():
    vectors = np.ones((4, 2))
    broken = vectors.copy()
    broken[2, 1], broken[3, 0] = np.nan, np.inf
    with pytest.raises(EvaluationError, match="`candidates` must be finite.*2 of 4 rows, first in row 2"):
        DotScorer(vectors, broken)
    with pytest.raises(EvaluationError, match="`queries` must be finite.*2 of 4 rows, first in row 2"):
        DotScorer(broken, vectors)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error_that_names_the_query(value):
    scores = np.ones((5, 3))
    scores[3, 1] = value
    with pytest.raises(EvaluationError, match="`scores` must be finite.*1 of 2 rows, first in row 3"):
        rank(Table(scores), Ragged.from_lists([[0]] * 5), max_k=1, block=2)


def test_large_finite_scores_are_ranked():
    scores = np.array([[3e38, 2e38, 1e38]])  # their sum overflows, they do not
    assert rank(Table(scores), Ragged.from_lists([[1]]), max_k=3).ranks.tolist() == [2]


def test_products_that_overflow_are_an_error():
    with pytest.raises(EvaluationError, match="`scores` must be finite"):
        rank(DotScorer(np.full((1, 2), 1e30), np.full((3, 2), 1e30)), Ragged.from_lists([[0]]), max_k=1)


@pytest.mark.parametrize(
    "targets, exclude, message",
    [
        ([[], []], None, "must have at least one target. Received: none for all 2 queries"),
        ([[0]], None, "`targets` must have one row for each of the 2 queries"),
        ([[0], [3]], None, "`targets` must hold candidate positions below 3.*Received: 3"),
        ([[0], [-2]], None, "Received: -2"),
        ([[0], [1]], [[0]], "`exclude` must have one row"),
        ([[0], [1]], [[9], []], "`exclude` must hold candidate positions"),
    ],
)
def test_wrong_arguments(targets, exclude, message):
    exclude = None if exclude is None else Ragged.from_lists(exclude)
    with pytest.raises(EvaluationError, match=message):
        rank(Table(np.zeros((2, 3))), Ragged.from_lists(targets), exclude)


def test_shapes_and_depth_are_checked():
    with pytest.raises(EvaluationError, match="same dim"):
        DotScorer(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(EvaluationError, match=r"\[q, dim\]"):
        DotScorer(np.ones(3), np.ones((2, 3)))
    with pytest.raises(EvaluationError, match="`max_k` must be at least 1"):
        rank(Table(np.zeros((1, 3))), Ragged.from_lists([[0]]), max_k=0)
    with pytest.raises(EvaluationError, match="must have queries and candidates"):
        rank(Table(np.zeros((0, 3))), Ragged.from_lists([]))
    short = Table(np.zeros((2, 3)))
    short.catalogue = 4
    with pytest.raises(EvaluationError, match=r"must be \[2, 4\].*\(2, 3\)"):
        rank(short, Ragged.from_lists([[0], [0]]))
