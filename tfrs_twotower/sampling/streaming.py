"""Streaming estimate of how often a candidate is a positive, from the gaps between its sights."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.errors import ConfigError, invalid


class StreamingCorrection(tf.keras.layers.Layer):
    """p(c) = 1 / (mean number of examples between two sights of c). Yi et al. 2019, algorithm 2.

    Per hash function there are arrays A (the example at which a bucket was last seen) and B (its mean
    gap). At the n-th sight of a bucket, at example t (the first example of all is t = 1):

        B ← (1 − αₙ)·B + αₙ·(t − A),    A ← t,    αₙ = max(α, 1/n)

    αₙ is the paper's α but for a bucket's first 1/α sights, in which B is the plain mean of the gaps.
    So a start value is never mixed in: the first sight at t sets B = t, and an item with few sights is not
    taken for a frequent one. A bucket not yet seen at time t has B = t + 1. The estimate is that of the
    largest B over the hashes, as collisions only ever shorten gaps.

    Time counts examples, not batches: by batches, the gap of a popular item cannot fall below 1. The sights
    within a batch are taken in the order of its rows, exactly as if they came one by one.
    The arrays are variables, so a checkpoint holds them (20 bytes a bucket and hash).
    """

    def __init__(self, buckets, alpha=0.01, hashes=1, name=None):
        """Initialises the arrays.

        Args:
          buckets: buckets per hash function. The first function is `id mod buckets`: with ids that are
            catalogue rows and a bucket each, nothing collides and one function is enough.
          alpha: weight of the newest gap, in (0, 1].
          hashes: number of hash functions.
        """
        super().__init__(name=name)
        if not 0 < alpha <= 1:
            raise ConfigError(invalid("alpha", "be above 0 and at most 1", alpha, "0.01 is usual."))
        if buckets < 1 or hashes < 1:
            way_out = "One bucket an item is best."
            raise ConfigError(invalid("buckets, hashes", "be at least 1", (buckets, hashes), way_out))
        self._buckets = buckets
        self._alpha = alpha
        self._hashes = hashes
        size = [hashes * buckets]
        self._time = tf.Variable(0, trainable=False, dtype=tf.int64, name="time")
        self._last = tf.Variable(tf.zeros(size, tf.int64), trainable=False, name="last_seen")
        self._gap = tf.Variable(tf.zeros(size), trainable=False, name="mean_gap")
        self._sights = tf.Variable(tf.zeros(size, tf.int64), trainable=False, name="sights")

    def log_expected_count(self, candidate_rows, batch_size, training):
        """float32 [c]; candidate_rows: int or string [c]. Training first learns the leading `batch_size`."""
        if training is None:
            raise ConfigError(
                invalid("training", "be True or False", None, "Call the task with training=training.")
            )
        slots = self._slots(candidate_rows)
        if training:
            self._see(slots[:, :batch_size])
        unseen = tf.cast(self._time + 1, tf.float32)
        gaps = tf.where(tf.gather(self._sights, slots) > 0, tf.gather(self._gap, slots), unseen)
        return tf.math.log(tf.cast(batch_size, tf.float32)) - tf.math.log(tf.reduce_max(gaps, axis=0))

    def start_from(self, candidate_rows):
        """Takes up what an earlier training saw, in its order: the arrays become those of plain mean gaps.

        Without it an update starts with gaps of a few examples for all items alike, which undoes the correction.

        Args:
          candidate_rows: int or string [n].
        """
        slots = self._slots(tf.convert_to_tensor(candidate_rows)).numpy().ravel()
        count, time = len(candidate_rows), np.arange(1, len(candidate_rows) + 1)
        sights, last = np.bincount(slots, minlength=self._sights.shape[0]), np.zeros(self._last.shape[0], np.int64)
        last[slots] = np.tile(time, self._hashes)  # of a bucket that comes again, the last one stays
        self._sights.assign(sights)
        self._last.assign(last)
        self._gap.assign((last / np.maximum(sights, 1)).astype(np.float32))  # its gaps add up to its last sight
        self._time.assign(count)

    def _slots(self, ids):
        """int64 [hashes, c]: positions in the arrays."""
        if ids.dtype == tf.string:
            ids = tf.strings.to_hash_bucket_fast(ids, 2**63 - 1)
        ids = tf.cast(ids, tf.uint64)
        buckets = tf.constant(self._buckets, tf.uint64)
        hashed = [ids] + [_mix(ids, seed) for seed in range(1, self._hashes)]
        return tf.stack(
            [tf.cast(h % buckets, tf.int64) + i * self._buckets for i, h in enumerate(hashed)]
        )

    def _see(self, slots):
        """Updates the arrays with the sights [hashes, n] of n examples, in order."""
        count = tf.shape(slots)[1]
        example = tf.tile(tf.range(count), [self._hashes])
        order = tf.argsort(tf.reshape(slots, [-1]), stable=True)
        slots = tf.gather(tf.reshape(slots, [-1]), order)
        time = self._time + 1 + tf.cast(tf.gather(example, order), tf.int64)

        # One run per bucket, its sights in time order.
        bucket, run, length = tf.unique_with_counts(slots, out_idx=tf.int64)
        start = tf.cumsum(length, exclusive=True)
        is_first = tf.concat([tf.ones([1], tf.bool), slots[1:] != slots[:-1]], axis=0)[: tf.size(slots)]
        before = tf.where(is_first, tf.gather(self._last, slots), tf.roll(time, 1, axis=0))
        gap = tf.cast(time - before, tf.float32)

        # The recursion unrolled: gap j of a run is left with weight αⱼ · Π_{i>j} (1 − αᵢ).
        old = tf.gather(self._sights, bucket)
        new = old + length
        sight = tf.gather(old - start, run) + 1 + tf.range(tf.size(slots, out_type=tf.int64))
        rate = tf.maximum(self._alpha, 1 / tf.cast(sight, tf.float32))
        share = rate * self._kept(sight, tf.gather(new, run))
        mean = self._kept(old, new) * tf.gather(self._gap, bucket) + tf.math.segment_sum(share * gap, run)

        self._gap.scatter_update(tf.IndexedSlices(mean, bucket))
        self._last.scatter_update(tf.IndexedSlices(tf.gather(time, start + length - 1), bucket))
        self._sights.scatter_update(tf.IndexedSlices(new, bucket))
        self._time.assign_add(tf.cast(count, tf.int64))

    def _kept(self, a, b):
        """Π_{a<n≤b} (1 − αₙ): αₙ is 1/n up to n = 1/α, where the product telescopes to a/b, and α beyond."""
        a, b = tf.cast(a, tf.float32), tf.cast(b, tf.float32)
        mean_until = float(int(1 / self._alpha))
        telescoped = tf.minimum(a, mean_until) / tf.minimum(b, mean_until)
        return telescoped * tf.pow(1 - self._alpha, tf.maximum(b, mean_until) - tf.maximum(a, mean_until))


def _mix(ids, seed):
    """uint64 → uint64: the finaliser of SplitMix64 (Steele et al. 2014), from another start per seed."""
    x = ids + tf.constant(seed * 0x9E3779B97F4A7C15 % 2**64, tf.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64)))
        x = x * tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.uint64)))
