"""Every loss against values written by hand in NumPy, in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.losses import (
    BPR,
    BinaryCrossEntropy,
    FullSoftmax,
    RefinedSampledSoftmax,
    SampledSoftmax,
    TripletHinge,
    TripletLogistic,
    binary_cross_entropy,
    bpr,
    full_softmax,
    refined_sampled_softmax,
    triplet_hinge,
    triplet_logistic,
)

SCORES = tf.constant([[2.0, 1.0, -1.0], [0.5, 0.0, 3.0]])
MASK = tf.constant([[True, True, True], [True, True, False]])  # row 1's candidate 2 does not count


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def test_binary_cross_entropy():
    # Row 0: positive 2, negatives 1 and −1. Row 1: positive 0 (column 1), negative 0.5.
    first = (-log_sigmoid(2) + 3 * (-log_sigmoid(-1) - log_sigmoid(1)) / 2) / 4
    second = (-log_sigmoid(0) + 3 * -log_sigmoid(-0.5)) / 4
    assert float(binary_cross_entropy(SCORES, MASK)) == pytest.approx((first + second) / 2, rel=1e-6)
    weighted = binary_cross_entropy(SCORES, MASK, tf.constant([3.0, 1.0]), negatives=3.0)
    assert float(weighted) == pytest.approx((3 * first + second) / 4, rel=1e-6)


def test_triplet_hinge():
    # Row 0's gaps s⁻ − s⁺: −1 and −3; row 1's: 0.5.
    loss = triplet_hinge(SCORES, MASK, margin=1.5)
    assert float(loss) == pytest.approx(((0.5 + 0.0) / 2 + 2.0) / 2, rel=1e-6)


def test_triplet_logistic_and_bpr():
    expected = ((-log_sigmoid(1) - log_sigmoid(3)) / 2 - log_sigmoid(-0.5)) / 2
    assert float(bpr(SCORES, MASK)) == pytest.approx(expected, rel=1e-6)
    steep = ((-log_sigmoid(2) - log_sigmoid(6)) / 2 - log_sigmoid(-1.0)) / 2
    assert float(triplet_logistic(SCORES, MASK, slope=2.0)) == pytest.approx(steep, rel=1e-6)


def test_the_column_of_the_positive_can_be_named():
    # Row 0's positive is candidate 2: gaps 3 and 2; row 1's is candidate 0: gap −0.5 (candidate 2 is masked).
    loss = triplet_hinge(SCORES, MASK, positive=tf.constant([2, 0]), margin=1.0)
    assert float(loss) == pytest.approx(((4 + 3) / 2 + 0.5) / 2, rel=1e-6)


def test_refined_sampled_softmax():
    log_q = np.log([0.5, 2.0, 4.0])
    z = [math.exp(1.0) / 2.0 + math.exp(-1.0) / 4.0, math.exp(0.5) / 0.5]
    rows = [z[0] / (math.exp(2.0) + z[0]) * (-2.0 + math.log(z[0])), z[1] / (1.0 + z[1]) * (-0.0 + math.log(z[1]))]
    loss = refined_sampled_softmax(SCORES, tf.constant(log_q, tf.float32), MASK)
    assert float(loss) == pytest.approx(sum(rows) / 2, rel=1e-6)


def test_the_weight_of_the_refined_softmax_has_no_gradient():
    scores = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        loss = refined_sampled_softmax(scores, tf.zeros([2]), tf.constant([[False, True]]))
    share = math.exp(2.0) / (math.exp(1.0) + math.exp(2.0))
    np.testing.assert_allclose(tape.gradient(loss, scores), [[-share, share]], rtol=1e-6)


@pytest.mark.parametrize("block", [1, 2, 5])
def test_full_softmax_and_its_gradient(block):
    rng = np.random.default_rng(0)
    queries, items = (tf.Variable(rng.normal(size=shape), dtype=tf.float32) for shape in ([5, 3], [7, 3]))
    positive, weights = np.array([0, 6, 3, 3, 1]), np.array([1.0, 2.0, 0.0, 1.0, 4.0])
    excluded = np.array([[1, -1], [6, 2], [-1, -1], [0, 1], [-1, 4]])  # row 1 names its own positive: it counts

    def plain():
        scores = queries @ tf.transpose(items)
        hidden = np.zeros([5, 7], bool)
        for row, column in [(0, 1), (1, 2), (3, 0), (3, 1), (4, 4)]:
            hidden[row, column] = True
        scores = tf.where(hidden, -1e9, scores)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(positive, scores)
        return tf.reduce_sum(losses * weights.astype(np.float32)) / 8.0

    def blocked():
        return full_softmax(
            queries, items, tf.constant(positive, tf.int32), tf.constant(weights),
            tf.constant(excluded, tf.int32), block,
        )

    results = []
    for function in (plain, blocked, tf.function(blocked)):
        with tf.GradientTape() as tape:
            loss = 2.0 * function()
        results.append([loss, *tape.gradient(loss, [queries, items])])
    for got in results[1:]:
        for value, expected in zip(got, results[0]):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


LOSSES = [
    SampledSoftmax(), RefinedSampledSoftmax(), BinaryCrossEntropy(), TripletHinge(), TripletLogistic(), BPR(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_masked_scores_and_rows_of_weight_zero_change_nothing(loss):
    log_q, positive = tf.math.log([0.5, 2.0, 4.0]), tf.range(2)
    expected = float(loss(SCORES[:1], log_q, MASK[:1], None, positive[:1]))
    scores = tf.concat([SCORES[:1], [[7.0, np.inf, 5.0]]], axis=0)
    value = loss(scores, log_q, MASK, tf.constant([2.0, 0.0]), positive)
    if not isinstance(loss, RefinedSampledSoftmax):
        assert float(value) == pytest.approx(expected, rel=1e-6)
    hidden = tf.constant([[True, True, False]])
    one, other = (loss(tf.constant([[2.0, 1.0, x]]), log_q, hidden, None, positive[:1]) for x in (0.0, 50.0))
    assert float(one) == pytest.approx(float(other), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES[1:], ids=lambda loss: type(loss).__name__)
def test_a_row_without_negatives_is_finite(loss):
    scores = tf.Variable([[2.0, 1.0]])
    with tf.GradientTape() as tape:
        value = loss(scores, tf.zeros([2]), tf.constant([[True, False]]), None, tf.constant([0]))
    assert math.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, scores)).all()


def test_wrong_settings_are_refused():
    for make in (
        lambda: TripletHinge(0.0), lambda: TripletLogistic(-1.0), lambda: BinaryCrossEntropy(0.0),
        lambda: FullSoftmax(0),
    ):
        with pytest.raises(ConfigError, match="must be"):
            make()
    with pytest.raises(ConfigError, match="expected counts"):
        RefinedSampledSoftmax()(SCORES, None, MASK, None, tf.range(2))
