"""Anybody's scores by the same rules: arrays and frames give what a scorer gives."""

import numpy as np
import pandas as pd
import pytest

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError
from tfrs_twotower.evaluation import DotScorer, PairScorer, compare, evaluate, read_per_query, write_per_query

SCORES = np.array([[0.1, 0.9, 0.5], [3.0, 2.0, 1.0]])
FRAME = pd.DataFrame({
    "user_id": ["a", "a", "a", "b", "b", "b"], "item_id": [10, 20, 30] * 2, "score": SCORES.ravel(),
})


def test_an_array_is_judged_as_a_scorer_is():
    found = evaluate(SCORES, [[2], [2, 0]], ks=(1, 2), bootstrap=0)
    assert found.metrics["recall@1"] == pytest.approx(0.25) and found.metrics["recall@2"] == pytest.approx(0.75)
    as_vectors = evaluate(DotScorer(np.eye(2), SCORES.T), Ragged.from_lists([[2], [2, 0]]), ks=(1, 2), bootstrap=0)
    assert found.metrics == pytest.approx(as_vectors.metrics)
    assert "novelty@1" not in found.metrics and found.slices == {}  # these need training counts
    without = evaluate(SCORES, [[2], [2, 0]], exclude=[[1], [0]], ks=(1,), bootstrap=0)
    assert without.metrics["recall@1"] == 0.5  # the first is rid of 1; the second has 2 left, behind 1


def test_a_frame_is_judged_as_its_array_is():
    targets = pd.DataFrame({"user_id": ["a", "b", "b", "c"], "item_id": [30, 30, 10, 10]})
    found = evaluate(FRAME, targets, ks=(1, 2), bootstrap=0)
    by_array = evaluate(np.vstack([SCORES, np.zeros(3)]), [[2], [2, 0], [0]], ks=(1, 2), bootstrap=0)
    assert found.queries == 3 and found.metrics == by_array.metrics  # nobody scored anything for c: a miss
    seen = pd.DataFrame({"user_id": ["a", "b", "z"], "item_id": [20, 10, 10]})
    without = evaluate(FRAME, targets, seen, ks=(1,), bootstrap=0)
    assert without.per_query["recall@1"].tolist() == [1, 0, 0]


def test_what_has_no_score_comes_after_all_that_has_one_and_an_unknown_item_is_a_miss():
    scorer = PairScorer(rows=[1, 1], positions=[2, 0], scores=[-5.0, -7.5], size=2, catalogue=3)
    assert scorer.scores(0, 2).tolist() == [[0, 0, 0], [1, 0, 2]]
    assert scorer.scores(1, 2).tolist() == [[1, 0, 2]]
    targets = pd.DataFrame({"user_id": ["a"], "item_id": [99]})
    assert evaluate(FRAME, targets, ks=(3,), bootstrap=0).metrics["recall@3"] == 0


@pytest.mark.parametrize(("scores", "targets", "message"), [
    (FRAME.drop(columns="score"), FRAME, "`scores` must be a frame with the columns user_id, item_id, score"),
    (FRAME, [[1]], "`targets` must be a frame with the columns user_id, item_id"),
    (pd.concat([FRAME, FRAME[:1]]), FRAME, "one score for each pair. Received: two for query 0 and candidate 0"),
    (FRAME.assign(score=np.nan), FRAME, "`scores` must be finite"),
    (np.zeros(3), [[0]], r"`scores` must be an array \[queries, candidates\]"),
])
def test_wrong_scores_are_refused(scores, targets, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(scores, targets, bootstrap=0)


def test_values_of_single_queries_come_back_and_pair_up(tmp_path):
    first, second = (evaluate(s, [[2], [2, 0]], ks=(1, 2), bootstrap=0) for s in (SCORES, -SCORES))
    for name, found in {"one": first, "two": second}.items():
        (tmp_path / name).mkdir()
        write_per_query(tmp_path / name, {"model": found, "popularity": second}, "same")
    one, two = (read_per_query(tmp_path / name) for name in ("one", "two"))
    assert compare(one, two) == compare(first, second)
    (tmp_path / "three").mkdir()
    write_per_query(tmp_path / "three", {"model": first}, "others")
    with pytest.raises(EvaluationError, match="same queries and targets"):
        compare(one, read_per_query(tmp_path / "three"))
    with pytest.raises(EvaluationError, match="cannot be read.*twotower evaluate"):
        read_per_query(tmp_path)
