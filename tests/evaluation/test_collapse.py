"""The alarm fires on collapsed models and on no healthy one."""

import numpy as np
import pytest

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation import DotScorer, collapse, rank

GENERATOR = np.random.default_rng(0)
HEALTHY = GENERATOR.normal(size=(300, 8))
QUERIES = GENERATOR.normal(size=(60, 8))


def recommended(queries, candidates):
    targets = Ragged.from_lists([[0]] * len(queries))
    return rank(DotScorer(queries, candidates), targets, max_k=10).top


def test_quiet_on_a_healthy_model():
    found = collapse(QUERIES, HEALTHY, recommended(QUERIES, HEALTHY))
    assert found.message is None
    assert abs(found.candidate_cosine) < 0.02 and abs(found.query_cosine) < 0.05
    assert 7.5 < found.candidate_rank <= 8
    assert found.distinct > 100


def test_fires_on_constant_candidates():
    constant = np.ones((300, 8))
    found = collapse(QUERIES, constant, recommended(QUERIES, constant))
    assert found.candidate_cosine == pytest.approx(1.0) and found.candidate_rank == 0 and found.distinct == 10
    assert "candidate vectors point one way" in found.message
    assert "hold 10 of 300 items" in found.message
    assert "query" not in found.message


def test_fires_on_constant_queries():
    constant = np.ones((60, 8))
    found = collapse(constant, HEALTHY, recommended(constant, HEALTHY))
    assert "query vectors point one way" in found.message and "hold 10 of 300 items" in found.message
    assert "candidate" not in found.message


def test_fires_on_candidates_on_one_line():
    line = np.outer(GENERATOR.normal(size=300), np.ones(8))
    found = collapse(QUERIES, line, recommended(QUERIES, line))
    assert found.candidate_rank == pytest.approx(1.0)
    assert "lie on one line" in found.message


def test_figures_by_hand():
    # Cosines of the three pairs: 0, −1 and 0. Two interests of one query are two vectors.
    candidates = np.array([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    queries = np.array([[[1.0, 0.0], [1.0, 1.0]]])
    found = collapse(queries, candidates, np.array([[0, 1, -1]]))
    assert found.candidate_cosine == pytest.approx(-1 / 3)
    assert found.query_cosine == pytest.approx(np.sqrt(0.5))
    assert found.distinct == 2 and found.message is None
