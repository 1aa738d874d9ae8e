"""The softmax in blocks against the softmax of all scores."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.losses import SampledSoftmax, sampled_softmax, softmax_in_blocks
from tfrs_twotower.models import Retrieval

rng = np.random.default_rng(0)
QUERIES, POSITIVES, OTHERS = (tf.Variable(rng.normal(size=[n, 5]).astype(np.float32)) for n in (7, 7, 4))
WEIGHTS, LOG_Q = tf.constant([1.0, 0.5, 0, 2, 1, 0, 3]), tf.constant(np.log(rng.random(11) + 0.01).astype(np.float32))
HIDDEN = tf.constant(rng.random([7, 11]) < 0.4)


@config
class AllScores(SampledSoftmax):
    """A loss of one's own: it is given all scores."""


def gradients(loss):
    with tf.GradientTape() as tape:
        value = loss()
    return [value, *map(tf.convert_to_tensor, tape.gradient(value, [QUERIES, POSITIVES, OTHERS]))]


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_value_and_gradients_equal_those_of_all_scores(block, weights):
    def in_blocks():
        return softmax_in_blocks(
            QUERIES, POSITIVES, tf.concat([POSITIVES, OTHERS], 0), block, own=tf.range(7), weights=weights,
            log_expected=(LOG_Q[:7], LOG_Q), hide=lambda part, scores: tf.where(HIDDEN[part], float("-inf"), scores),
        )

    def of_all():
        scores = tf.matmul(QUERIES, tf.concat([POSITIVES, OTHERS], 0), transpose_b=True) - LOG_Q
        return sampled_softmax(scores, tf.logical_not(HIDDEN), weights)

    for one, other in zip(gradients(in_blocks), gradients(of_all)):
        tf.debugging.assert_near(one, other, atol=1e-5)


def test_of_one_candidate_and_of_two_by_hand():
    one = softmax_in_blocks(tf.constant([[1.0]]), tf.constant([[5.0]]), tf.zeros([0, 1]), 4)
    two = softmax_in_blocks(tf.constant([[2.0]]), tf.constant([[1.0]]), tf.constant([[0.5]]), 4)
    assert float(one) == 0 and float(two) == pytest.approx(np.log(1 + np.exp(-1)))


def test_scores_beyond_the_range_of_exp():
    loss = softmax_in_blocks(tf.constant([[1.0], [1.0]]), tf.constant([[500.0], [-500.0]]), tf.constant([[100.0]]), 2)
    assert float(loss) == pytest.approx((0 + 600) / 2)
    all_three = tf.constant([[500.0], [-500.0], [100.0]])
    loss = softmax_in_blocks(tf.constant([[1.0], [1.0]]), all_three[:2], all_three, 2, own=tf.range(2))
    assert float(loss) == pytest.approx((0 + 1000) / 2)


def test_a_batch_of_no_queries_has_the_loss_zero():
    def loss():
        return softmax_in_blocks(QUERIES[:0], POSITIVES[:0], OTHERS, 4, weights=WEIGHTS[:0])

    for found in (gradients(loss), tf.function(lambda: gradients(loss))()):
        assert all(not np.any(value.numpy()) for value in found)


def test_a_weight_has_a_gradient():
    """d mean / d w = (the query's loss − the mean) / Σ w."""
    losses = [float(softmax_in_blocks(QUERIES[i: i + 1], POSITIVES[i: i + 1], OTHERS, 1)) for i in range(7)]
    weights = tf.Variable(WEIGHTS)
    with tf.GradientTape() as tape:
        mean = softmax_in_blocks(QUERIES, POSITIVES, OTHERS, 3, weights=weights)
    expected = (losses - mean.numpy()) / np.sum(WEIGHTS)
    np.testing.assert_allclose(tape.gradient(mean, weights), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan, 3e38])
def test_a_query_of_weight_0_adds_nothing_even_with_infinite_scores(broken):
    def loss(queries, weights):
        with tf.GradientTape() as tape:
            tape.watch([queries, weights])
            value = softmax_in_blocks(queries, tf.constant([[1.0, 2]] * 2), tf.constant([[3.0, 4], [1, 1]]), 2,
                                      weights=weights)
        return value, *tape.gradient(value, [queries, weights])

    value, by_query, by_weight = loss(tf.constant([[0.1, 0.2], [broken, 1]]), tf.constant([1.0, 0]))
    alone, by_query_alone, _ = loss(tf.constant([[0.1, 0.2], [0, 0]]), tf.constant([1.0, 0]))
    assert float(value) == float(alone) and np.isfinite(by_weight).all()
    np.testing.assert_array_equal(by_query, by_query_alone)


CASES = list(itertools.product([False, True], [False, True], [False, True], ["sum", "mean"]))


@pytest.mark.parametrize("in_batch, hits, known, reduction", CASES)
def test_the_task_takes_blocks_and_changes_nothing(in_batch, hits, known, reduction):
    ids = tf.constant([1, 2, 1, 3, 3, 4, 5, 1, 6, 2, 7])

    def loss(kind):
        options = {"in_batch": in_batch, "remove_accidental_hits": hits, "reduction": reduction}
        task = Retrieval(loss=kind, temperature=0.5, **options)
        return task(
            QUERIES, tf.concat([POSITIVES, OTHERS], 0), WEIGHTS, tf.exp(LOG_Q), ids,
            known_positives=tf.constant([[6, -1], [7, 5]] * 3 + [[2, 1]]) if known else None, score_mask=~HIDDEN,
        )

    for one, other in zip(gradients(lambda: loss(SampledSoftmax())), gradients(lambda: loss(AllScores()))):
        tf.debugging.assert_near(one, other, rtol=1e-4, atol=1e-5)
