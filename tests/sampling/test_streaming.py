"""The streaming estimate against the one-by-one recursion, and against known probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.sampling import StreamingCorrection


def one_by_one(examples, alpha, batch_size):
    """The estimator as a plain loop: {item: mean gap}."""
    last, gap, sights = {}, {}, {}
    for t, item in enumerate(examples, start=1):
        between, before_batch = t - last.get(item, 0), (t - 1) // batch_size * batch_size >= last.get(item, 0)
        if sights.get(item, 0) > 1 and before_batch and between > 10 * gap[item]:
            sights[item] = 0
        sights[item] = sights.get(item, 0) + 1
        rate = 1 if sights[item] == 1 else max(alpha, 1 / (sights[item] - 1))
        gap[item] = (1 - rate) * gap.get(item, 0) + rate * between
        last[item] = t
    return {item: t - last[item] if t - last[item] > 10 * gap[item] else gap[item] for item in gap}


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
    expected = one_by_one(stream.tolist(), alpha, batch_size)
    items = np.array(sorted(expected), np.int32)
    np.testing.assert_allclose(1 / probabilities(estimator, items), [expected[i] for i in items], rtol=2e-5)


def test_by_hand():
    estimator = StreamingCorrection(buckets=8, alpha=0.5)
    estimator.log_expected_count(tf.constant([3, 5, 3, 3]), 4, True)
    # Item 3 at t = 1, 3, 4: gaps 2 and 1. B = 2, then (2 + 1) / 2. Item 5 was seen once, at t = 2; item 6 not yet.
    np.testing.assert_allclose(probabilities(estimator, [3, 5, 6]), [1 / 1.5, 1 / 2, 1 / 5], rtol=1e-6)


@pytest.mark.parametrize("last, gap, sights", [(900, 0.0, 1), (900, 50.0, 7), (0, 0.0, 1), (3, 0.0, 0)])
def test_what_other_workers_have_half_written_leaves_the_correction_finite(last, gap, sights):
    # Workers of parameter servers see the arrays at different moments: here `last` is ahead of the time, or a gap is
    # not there yet. A share is above 0 and at most 1, whatever is read.
    estimator = StreamingCorrection(buckets=2, alpha=0.5)
    for variable, value in zip(estimator.variables, (3, [last, 0], [gap, 0.0], [sights, 0])):
        variable.assign(value)
    for training in (False, True):
        log_expected = estimator.log_expected_count(tf.constant([0, 1, 0, 0]), 4, training).numpy()
        assert np.isfinite(log_expected).all() and (log_expected < np.log(4) + 1e-5).all()


def test_log_expected_count_is_of_the_batch():
    estimator = StreamingCorrection(buckets=2)
    estimator.log_expected_count(tf.constant([0, 0, 0, 1, 1, 0]), 6, True)
    # The gaps of item 0 are 1, 1 and 3, of item 1 there is one, 1.
    log_q = estimator.log_expected_count(tf.constant([0, 1]), 2, False)
    np.testing.assert_allclose(log_q, np.log([2 / (5 / 3), 2 / 1]), rtol=1e-6)


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


OLD = np.arange(10, 110, dtype=np.int32)
NEW = np.arange(10, dtype=np.int32)


@pytest.fixture
def after_a_million():
    """(an estimator that saw 1,024,000 examples of OLD, by popularity 1 / rank; count, p(NEW) → further examples)."""
    rng = np.random.default_rng(5)

    def examples(count, share=0.0):
        p = np.concatenate([np.full(len(NEW), share), (1 - share * len(NEW)) * zipf(len(OLD))])
        return rng.choice(len(p), size=count, p=p).astype(np.int32)

    estimator = StreamingCorrection(buckets=110)
    estimator.start_from(examples(1_024_000))
    return estimator, examples


def errors_after(estimator, stream, batch_size, sights):
    """Errors of log p of NEW, of 1% each, at the end of the batch that first brings each so many sights."""
    learn = tf.function(lambda ids: estimator.log_expected_count(ids, tf.size(ids), True))
    seen, errors = np.zeros(len(NEW), int), {n: np.full(len(NEW), np.nan) for n in sights}
    for start in range(0, len(stream), batch_size):
        batch = stream[start: start + batch_size]
        learn(tf.constant(batch))
        seen += np.bincount(batch, minlength=len(NEW))[: len(NEW)]
        found = np.log(probabilities(estimator, NEW) / 0.01)
        for n in sights:
            errors[n] = np.where((seen >= n) & np.isnan(errors[n]), found, errors[n])
    return errors


def test_a_birth_is_known_after_a_few_sights(after_a_million):
    """log p is right to the noise of the mean of n − 1 gaps: by gaps from t = 0 on it is −7.8, −4.6 and −1.8 off."""
    estimator, examples = after_a_million
    first = errors_after(estimator, examples(2_000, 0.01), 25, [4])
    later = errors_after(estimator, examples(50_000, 0.01), 250, [100, 400])
    assert np.abs(first[4]).max() < 2 and abs(first[4].mean()) < 0.6  # of 3 gaps: noise 0.63, mean 0.18
    for n in (100, 400):  # and the about 20 of before
        assert np.abs(later[n]).max() < 0.3 and abs(later[n].mean()) < 0.1, (n, later[n])


def test_what_stopped_coming_is_bounded_by_its_open_gap(after_a_million):
    estimator, examples = after_a_million
    feed(estimator, np.tile(NEW[:2], 200), 100)
    np.testing.assert_allclose(1024 * probabilities(estimator, NEW[:2]), [512, 512], rtol=1e-5)
    feed(estimator, examples(10_240), 1024)
    np.testing.assert_allclose(1024 * probabilities(estimator, NEW[1:2]), [1024 / 10_240], rtol=1e-5)
    # What still comes is as it was, however long its open gap is by chance.
    error = np.log(probabilities(estimator, OLD) / zipf(len(OLD)))
    assert np.abs(error).max() < 0.35 and abs(error.mean()) < 0.05


def test_what_comes_back_begins_a_new_life(after_a_million):
    """Else its absence counts as a gap, and α of that is worth log(1 + 0.01 · 10,000) = 4.6 at once."""
    estimator, examples = after_a_million
    feed(estimator, examples(20_000, 0.01), 1000)
    estimator._time.assign_add(1_000_000)  # as if others had come
    errors = errors_after(estimator, examples(20_000, 0.01), 100, [10, 100])
    assert np.abs(errors[10]).max() < 1.2 and np.abs(errors[100]).max() < 0.3, errors


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
    stream = np.random.default_rng(0).choice(400, size=16_384, p=zipf(400)).astype(np.int32)
    seen, started = (StreamingCorrection(buckets=310, hashes=hashes) for _ in range(2))
    feed(seen, stream[:16_384], 8192)
    started.start_from(stream[:16_384])
    for a, b in zip(seen.variables, started.variables):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)
