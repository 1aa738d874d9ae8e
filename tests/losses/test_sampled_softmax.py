"""The sampled softmax against values written by hand."""

import math

import pytest
import tensorflow as tf

from tfrs_twotower.losses import sampled_softmax

E = math.exp


def test_two_by_two():
    scores = tf.constant([[2.0, 1.0], [0.0, 3.0]])
    expected = (math.log(1 + E(-1)) + math.log(1 + E(-3))) / 2
    assert float(sampled_softmax(scores)) == pytest.approx(expected, abs=1e-6)


def test_extra_candidates_are_negatives_of_every_row():
    scores = tf.constant([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    first = -math.log(E(1) / (E(1) + 1 + E(2)))
    second = -math.log(E(1) / (1 + E(1) + 1))
    assert float(sampled_softmax(scores)) == pytest.approx((first + second) / 2, abs=1e-6)


def test_positive_column_can_be_given():
    scores = tf.constant([[2.0, 1.0, 0.0]])
    expected = -math.log(1 / (E(2) + E(1) + 1))
    assert float(sampled_softmax(scores, positive=[2])) == pytest.approx(expected, abs=1e-6)


def test_masked_candidates_are_out_of_value_and_gradient():
    scores = tf.Variable([[1.0, 50.0, 2.0], [0.0, 1.0, 0.0]])
    mask = tf.constant([[True, False, True], [False, True, False]])
    with tf.GradientTape() as tape:
        loss = sampled_softmax(scores, mask)
    # The second row has no negative left: its loss is 0.
    assert float(loss) == pytest.approx(math.log(1 + E(1)) / 2, abs=1e-6)
    p = E(2) / (E(1) + E(2))
    expected = [[-p / 2, 0, p / 2], [0, 0, 0]]
    tf.debugging.assert_near(tape.gradient(loss, scores), tf.constant(expected, tf.float32), atol=1e-6)


def test_the_positive_counts_whatever_the_mask_says():
    scores = tf.constant([[2.0, 1.0, 0.0]])
    loss = sampled_softmax(scores, tf.constant([[False, True, False]]))
    assert float(loss) == pytest.approx(math.log(1 + E(-1)), abs=1e-6)


def test_value_and_gradient_equal_tensorflow_s_cross_entropy():
    scores = tf.Variable(tf.random.normal([30, 50], stddev=20.0, seed=1))
    positive = tf.random.uniform([30], maxval=50, dtype=tf.int32, seed=2)
    weights = tf.random.uniform([30], seed=3)
    with tf.GradientTape(persistent=True) as tape:
        ours = sampled_softmax(scores, weights=weights, positive=positive)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(positive, scores)
        theirs = tf.reduce_sum(weights * losses) / tf.reduce_sum(weights)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    tf.debugging.assert_near(tape.gradient(ours, scores), tape.gradient(theirs, scores), atol=1e-6)


def test_a_score_that_is_not_finite_shows_in_the_loss():
    for wrong in (float("nan"), float("inf")):
        assert not math.isfinite(sampled_softmax(tf.constant([[wrong, 1.0], [0.0, 1.0]])))
        assert not math.isfinite(sampled_softmax(tf.constant([[1.0, wrong], [0.0, 1.0]])))


def test_weights_of_one_are_the_plain_mean_and_only_proportions_count():
    scores = tf.constant([[2.0, 1.0], [0.0, 3.0]])
    first, second = math.log(1 + E(-1)), math.log(1 + E(-3))
    assert float(sampled_softmax(scores, weights=[1.0, 1.0])) == pytest.approx((first + second) / 2, abs=1e-6)
    expected = (3 * first + second) / 4
    for weights in ([3.0, 1.0], [30, 10]):
        assert float(sampled_softmax(scores, weights=weights)) == pytest.approx(expected, abs=1e-6)


def test_zero_total_weight_gives_zero_loss_and_gradient():
    scores = tf.Variable([[2.0, 1.0], [0.0, 3.0]])
    with tf.GradientTape() as tape:
        loss = sampled_softmax(scores, weights=[0.0, 0.0])
    assert float(loss) == 0
    assert tf.reduce_all(tape.gradient(loss, scores) == 0)


def test_large_scores_stay_finite():
    scores = tf.Variable([[1e4, -1e4], [3e38, -3e38]])
    with tf.GradientTape() as tape:
        loss = sampled_softmax(scores, tf.constant([[True, True], [True, True]]), weights=[1.0, 0.0])
    assert float(loss) == 0
    assert tf.reduce_all(tf.math.is_finite(tape.gradient(loss, scores)))
