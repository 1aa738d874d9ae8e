"""Questions to a stranger, on people and items whose probabilities are known by hand."""

import numpy as np
import pytest

from tfrs_twotower.channels import Elicitation

NONE = np.zeros(0, int)


def elicitation(scores, counts, events=2.0):
    """People and items with these scores [people, items]."""
    scores = np.asarray(scores, np.float32)
    p = np.asarray(counts, float) / sum(counts)
    return Elicitation(scores, events, np.eye(scores.shape[1], dtype=np.float32), np.log(p))


def test_probabilities_and_information_by_hand():
    # Two people, two items: shares .9 and .1 of the first, the opposite for the second; two events each.
    asked = elicitation(np.log([[0.9, 0.1], [0.1, 0.9]]), [1, 1])
    like = 1 - np.exp(-2 * np.array([0.9, 0.1]))
    no = (1 - like) ** 0.3
    np.testing.assert_allclose(asked.known, 1 - np.exp(-1.0))  # two events of which half are of each item
    np.testing.assert_allclose(asked.probabilities(NONE, NONE), [0.5, 0.5])
    np.testing.assert_allclose(asked.probabilities(np.array([0]), NONE), like / like.sum(), rtol=1e-5)
    np.testing.assert_allclose(asked.probabilities(NONE, np.array([0])), no / no.sum(), rtol=1e-5)
    np.testing.assert_allclose(asked.vector(np.array([0]), NONE),
                               like / like.sum() @ np.log([[0.9, 0.1], [0.1, 0.9]]), rtol=1e-5)

    def entropy(p):
        return -p * np.log2(p) - (1 - p) * np.log2(1 - p)

    worth = (1 - np.exp(-1.0)) * (entropy(like.mean()) - entropy(like).mean())
    (row, found), = asked.questions(1, NONE, NONE, NONE)
    assert row == 0 and found == pytest.approx(worth, rel=1e-5)


def test_an_item_that_splits_people_is_asked_before_one_that_all_like_or_few_know():
    # Item 0 is as likely for all, 1 and 2 split people alike, and few know 2.
    asked = elicitation(np.log([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4]]), [50, 49, 1])
    assert asked.questions(1, NONE, NONE, NONE)[0][0] == 1
    assert asked.questions(1, NONE, NONE, np.array([1]))[0][0] == 2
    assert asked.questions(1, NONE, NONE, NONE, np.array([True, False, False]))[0][0] == 0
    assert {row for row, _ in asked.questions(5, NONE, NONE, NONE)} == {0, 1, 2}


def test_the_next_question_depends_on_the_answer():
    """Item 0 tells groups A and B apart; 1 the halves of A, 2 those of B."""
    a = [[3, 3, 0], [3, -3, 0]]
    b = [[-3, 0, 3], [-3, 0, -3]]
    asked = elicitation(np.array([*a, *b]), [40, 30, 30])
    first = np.array([0])
    assert asked.questions(1, first, NONE, NONE)[0][0] == 1
    assert asked.questions(1, NONE, first, NONE)[0][0] == 2
