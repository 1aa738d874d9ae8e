"""The streaming estimate against the one-by-one recursion, and against known probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.sampling import StreamingCorrection


def one_by_one(examples, alpha):
    """Algorithm 2 as a plain loop: {item: mean gap}."""
    last, gap, sights = {}, {}, {}
    for t, item in enumerate(examples, start=1):
        sights[item] = sights.get(item, 0) + 1
        rate = max(alpha, 1 / sights[item])
        gap[item] = (1 - rate) * gap.get(item, 0) + rate * (t - last.get(item, 0))
        last[item] = t
    return gap


def probabilities(estimator, ids, batch_size=1):
    return np.exp(estimator.log_expected_count(tf.constant(ids), batch_size, False).numpy()) / batch_size


def zipf(items, exponent=1.0):
    p = 1 / np.arange(1, items + 1) ** exponent
    return p / p.sum()


def feed(estimator, stream, batch_size):
    learn = tf.function(lambda ids: estimator.log_expected_count(ids, tf.size(ids), True))
    for start in range(0, len(stream), batch_size):
        learn(tf.constant(stream[start: start + batch_size]))


@pytest.mark.parametrize("alpha, batch_size", [(1.0, 64), (0.3, 64), (0.05, 64), (0.01, 64), (0.05, 3)])
def test_batches_equal_the_loop_over_examples(alpha, batch_size):
    stream = np.random.default_rng(0).choice(40, size=320, p=zipf(40)).astype(np.int32)
    estimator = StreamingCorrection(buckets=40, alpha=alpha)
    feed(estimator, stream, batch_size)
    expected = one_by_one(stream.tolist(), alpha)
    items = np.array(sorted(expected), np.int32)
    np.testing.assert_allclose(1 / probabilities(estimator, items), [expected[i] for i in items], rtol=2e-5)


def test_by_hand():
    estimator = StreamingCorrection(buckets=8, alpha=0.5)
    estimator.log_expected_count(tf.constant([3, 5, 3, 3]), 4, True)
    # Item 3 at t = 1, 3, 4: gaps 1, 2, 1. B = 1, then (1 + 2) / 2, then 0.5 · 1.5 + 0.5 · 1.
    np.testing.assert_allclose(probabilities(estimator, [3]), [1 / 1.25], rtol=1e-6)
    # Item 5 was seen once, at t = 2; item 6 not in 4 examples.
    np.testing.assert_allclose(probabilities(estimator, [5, 6]), [1 / 2, 1 / 5], rtol=1e-6)


def test_log_expected_count_is_of_the_batch():
    estimator = StreamingCorrection(buckets=2)
    estimator.log_expected_count(tf.constant([0, 1, 0, 1]), 4, True)
    # The gaps of item 0 are 1 and 2, of item 1 are 2 and 2.
    log_q = estimator.log_expected_count(tf.constant([0, 1]), 2, False)
    np.testing.assert_allclose(log_q, np.log([2 / 1.5, 2 / 2]), rtol=1e-6)


def test_only_training_learns_and_only_the_batch_is_a_sight():
    estimator = StreamingCorrection(buckets=4)
    estimator.log_expected_count(tf.constant([1, 2, 3]), 2, True)  # 3 is an extra candidate
    before = [w.numpy() for w in estimator.weights]
    estimator.log_expected_count(tf.constant([1, 1, 3]), 3, False)
    for weight, value in zip(estimator.weights, before):
        np.testing.assert_array_equal(weight, value)
    np.testing.assert_allclose(probabilities(estimator, [3]), [1 / 3], rtol=1e-6)
    assert not estimator.trainable_weights
    with pytest.raises(ConfigError, match="training"):
        estimator.log_expected_count(tf.constant([1]), 1, None)


def test_a_stationary_stream_gives_its_probabilities():
    p = zipf(1000)
    stream = np.random.default_rng(1).choice(1000, size=100_000, p=p).astype(np.int32)
    estimator = StreamingCorrection(buckets=1000, alpha=0.01)
    feed(estimator, stream, 1000)
    estimate = probabilities(estimator, np.arange(1000, dtype=np.int32))
    # p ≥ 1/1000 is seen 100 times and more: noise √(α / 2) = 7% each; about 10% with few sights.
    frequent = p >= 1e-3
    error = np.log(estimate[frequent] / p[frequent])
    assert np.abs(error.mean()) < 0.03
    assert np.sqrt((error**2).mean()) < 0.1
    # Rare items too are right on average, not taken for frequent ones.
    rare = np.log(estimate[~frequent] / p[~frequent])
    assert np.abs(rare.mean()) < 0.15


def test_drift_is_followed():
    rng = np.random.default_rng(2)
    p = zipf(50)
    estimator = StreamingCorrection(buckets=50, alpha=0.05)
    feed(estimator, rng.choice(50, size=20_000, p=p).astype(np.int32), 1000)
    feed(estimator, rng.choice(50, size=20_000, p=p[::-1]).astype(np.int32), 1000)
    error = np.log(probabilities(estimator, np.arange(50, dtype=np.int32)) / p[::-1])
    assert np.sqrt((error**2).mean()) < 0.25
    assert np.abs(error).max() < 0.7  # the turn itself is worth log 50 = 3.9


def test_more_hashes_mend_collisions():
    p = zipf(300)
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 2**62, 300)
    stream = rng.choice(ids, size=30_000, p=p)
    errors = []
    for hashes in (1, 3):
        estimator = StreamingCorrection(buckets=600, hashes=hashes)
        feed(estimator, stream, 1000)
        errors.append(np.abs(np.log(probabilities(estimator, ids) / p)).mean())
    assert errors[1] < 0.75 * errors[0]


def test_string_ids():
    stream = np.random.default_rng(4).choice(["a", "b", "c"], size=20_000, p=[0.7, 0.2, 0.1])
    estimator = StreamingCorrection(buckets=10_007, hashes=2)
    feed(estimator, stream, 500)
    np.testing.assert_allclose(probabilities(estimator, ["a", "b", "c"]), [0.7, 0.2, 0.1], rtol=0.25)


def test_the_state_is_checkpointed(tmp_path):
    first, second = StreamingCorrection(buckets=9), StreamingCorrection(buckets=9)
    feed(first, np.array([1, 2, 1, 5], np.int32), 4)
    path = tf.train.Checkpoint(logq=first).save(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(logq=second).restore(path).assert_consumed()
    for estimator in (first, second):
        feed(estimator, np.array([1, 1, 2, 3], np.int32), 4)
    np.testing.assert_array_equal(*(probabilities(e, np.arange(9)) for e in (first, second)))


@pytest.mark.parametrize("hashes", [1, 2])
def test_a_start_from_the_past_is_what_seeing_it_would_have_left(hashes):
    """With α so small that all means are plain, the arrays are equal, and so is all that is learned afterwards."""
    stream = np.random.default_rng(0).choice(40, size=320, p=zipf(40)).astype(np.int32)
    seen, started = (StreamingCorrection(buckets=31, alpha=1e-4, hashes=hashes) for _ in range(2))
    feed(seen, stream[:256], 64)
    started.start_from(stream[:256])
    for _ in range(2):
        for a, b in zip(seen.variables, started.variables):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)
        for estimator in (seen, started):
            feed(estimator, stream[256:], 64)
