"""Streaming estimate of a candidate's share among the positives, from the gaps between its sights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower.errors import ConfigError, invalid

_ABSENT = 10  # mean gaps; a longer open gap means death: of a living item, only e⁻¹⁰ of the gaps are as long
_BATCH = 8192  # positives of an earlier training, learned at a time


class StreamingCorrection(tf.keras.layers.Layer):
    """p(c) = 1 / (mean number of examples between two sights of c), after algorithm 2 of Yi et al. 2019.

    Per hash function there are arrays A (the example at which a bucket was last seen) and B (its mean
    gap). At the n-th sight of a bucket, at example t (the first example of all is t = 1):

        B ← (1 − αₙ)·B + αₙ·(t − A),    A ← t,    αₙ = max(α, 1/(n − 1)),    α₁ = 1

    In the paper αₙ is α at every sight, and B and A start from 0. These are the differences:

    - B is the plain mean of the first 1/α gaps, so that an item with few sights is not taken for a frequent one.
    - Births: the time before the first sight is not a gap. It is the value of B until the second sight, and is then
      forgotten. By the paper's rule, an item born at example T has B ≈ α·T at first, for about 1/α sights.
    - Deaths: while the open gap t − A is longer than 10·B, p(c) is 1/(t − A); in the paper it stays 1/B for ever. A
      bound of 1·B would be wrong for living items: about a third of their open gaps are longer than B.
    - Returns: a sight after a gap longer than 10·B is the first of a new life, n = 1. (This is checked once a batch,
      for the gap that begins before the batch.)

    A bucket without a sight until time t has B = t + 1. The estimate uses the largest B over the hashes, as collisions
    can only shorten gaps.

    Time counts examples, not batches: by batches, the gap of a popular item cannot fall below 1. The sights
    within a batch are taken in the order of its rows, exactly as if they came one by one.
    The arrays are variables, so a checkpoint holds them (20 bytes per bucket and hash).
    """

    def __init__(self, buckets: int, alpha: float = 0.01, hashes: int = 1, name: str | None = None) -> None:
        """Initialises the arrays.

        Args:
          buckets: buckets per hash function. The first function is `id mod buckets`: with ids that are
            catalogue rows and as many buckets, nothing collides and one function is enough.
          alpha: weight of the newest gap, in (0, 1].
          hashes: number of hash functions.
        """
        super().__init__(name=name)
        if not 0 < alpha <= 1:
            raise ConfigError(invalid("alpha", "be above 0 and at most 1", alpha, "0.01 is usual."))
        if buckets < 1 or hashes < 1:
            way_out = "One bucket per item is best."
            raise ConfigError(invalid("buckets, hashes", "be at least 1", (buckets, hashes), way_out))
        self._buckets = buckets
        self._alpha = alpha
        self._hashes = hashes
        size = [hashes * buckets]
        self._time = tf.Variable(0, trainable=False, dtype=tf.int64, name="time")
        self._last = tf.Variable(tf.zeros(size, tf.int64), trainable=False, name="last_seen")
        self._gap = tf.Variable(tf.zeros(size), trainable=False, name="mean_gap")
        self._sights = tf.Variable(tf.zeros(size, tf.int64), trainable=False, name="sights")

    def log_expected_count(
        self, candidate_rows: tf.Tensor, batch_size: int | tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """float32 [c]; candidate_rows: int or string [c]. Training first learns the leading `batch_size`."""
        if training is None:
            raise ConfigError(
                invalid("training", "be True or False", None, "Call the task with training=training.")
            )
        slots = self._slots(candidate_rows)
        if training:
            self._see(slots[:, :batch_size])
        gap, since = tf.gather(self._gap, slots), tf.cast(self._time - tf.gather(self._last, slots), tf.float32)
        gap = tf.where(since > _ABSENT * gap, since, gap)
        gap = tf.where(tf.gather(self._sights, slots) > 0, gap, tf.cast(self._time + 1, tf.float32))
        gap = tf.maximum(tf.reduce_max(gap, axis=0), 1.0)  # see `_after`: the values that are read may be half written
        return tf.math.log(tf.cast(batch_size, tf.float32)) - tf.math.log(gap)

    def start_from(self, candidate_rows: np.ndarray | Sequence[int]) -> None:
        """Learns the positives of an earlier training, in their order, as batches of 8,192.

        Without it, an update would start with the same short gap for all items, which disables the correction.

        Args:
          candidate_rows: int or string [n].
        """
        size = self._last.shape[0]
        arrays = [np.zeros(size, np.int64), np.zeros(size, np.float32), np.zeros(size, np.int64)]
        # Not by `_see`: under a `tf.distribute` strategy only a step may change single elements of a variable.
        seen = tf.function(lambda rows, time: _sights(self._slots(rows), time), autograph=False, reduce_retracing=True)
        after = tf.function(self._after, autograph=False, reduce_retracing=True)
        for start in range(0, len(candidate_rows), _BATCH):
            rows = tf.convert_to_tensor(candidate_rows[start: start + _BATCH])
            sights = seen(rows, tf.constant(start, tf.int64))
            before = (tf.convert_to_tensor(array[sights.bucket.numpy()]) for array in arrays)
            for array, new in zip(arrays, after(sights, *before)):
                array[sights.bucket.numpy()] = new.numpy()
        for variable, array in zip((self._last, self._gap, self._sights), arrays):
            variable.assign(array)
        self._time.assign(len(candidate_rows))

    def _slots(self, ids: tf.Tensor) -> tf.Tensor:
        """int64 [hashes, c]: positions in the arrays."""
        if ids.dtype == tf.string:
            ids = tf.strings.to_hash_bucket_fast(ids, 2**63 - 1)
        ids = tf.cast(ids, tf.uint64)
        buckets = tf.constant(self._buckets, tf.uint64)
        hashed = [ids] + [_mix(ids, seed) for seed in range(1, self._hashes)]
        return tf.stack(
            [tf.cast(h % buckets, tf.int64) + i * self._buckets for i, h in enumerate(hashed)]
        )

    def _see(self, slots: tf.Tensor) -> None:
        """Updates the arrays with the sights [hashes, n] of n examples, in order."""
        sights = _sights(slots, self._time)
        arrays = self._last, self._gap, self._sights
        after = self._after(sights, *(tf.gather(array, sights.bucket) for array in arrays))
        for array, new in zip(arrays, after):
            array.scatter_update(tf.IndexedSlices(new, sights.bucket))
        self._time.assign_add(tf.shape(slots, out_type=tf.int64)[1])

    def _after(
        self, sights: "_Sights", last: tf.Tensor, gap: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(A, B, number of sights) of the buckets after `sights`; the arguments are the values before."""
        before = tf.where(sights.is_first, tf.gather(last, sights.run), sights.previous)
        # A gap is at least one example. Workers of parameter servers write without waiting for each other, so that one
        # may read `last` from after the time that it read, or a number of sights whose gap is not written yet.
        gaps = tf.maximum(tf.cast(sights.time - before, tf.float32), 1.0)
        returns = tf.logical_and(number > 1, tf.gather(gaps, sights.start) > _ABSENT * gap)
        number = tf.where(returns, tf.zeros_like(number), number)
        # The recursion unrolled: gap j of a run is left with weight αⱼ · Π_{i>j} (1 − αᵢ).
        new = number + sights.length
        sight = tf.gather(number - sights.start, sights.run) + 1 + tf.range(tf.size(gaps, out_type=tf.int64))
        rate = tf.maximum(self._alpha, 1 / tf.cast(tf.maximum(sight - 1, 1), tf.float32))
        share = rate * self._kept(sight, tf.gather(new, sights.run))
        mean = self._kept(number, new) * gap + tf.math.segment_sum(share * gaps, sights.run)
        return tf.gather(sights.time, sights.start + sights.length - 1), mean, new

    def _kept(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Π_{a<n≤b} (1 − αₙ): αₙ is 1/(n − 1) up to n = 1 + 1/α, where the product telescopes, and α beyond."""
        a, b = (tf.maximum(n - 1, n * 1e-12) for n in (tf.cast(a, tf.float32), tf.cast(b, tf.float32)))  # 1 is no gap
        mean_until = float(int(1 / self._alpha))
        telescoped = tf.minimum(a, mean_until) / tf.minimum(b, mean_until)
        return telescoped * tf.pow(1 - self._alpha, tf.maximum(b, mean_until) - tf.maximum(a, mean_until))


class _Sights(NamedTuple):
    """The sights of a batch, in one run per bucket, each run in time order.

    Attributes:
      bucket, start, length: int64 [runs]: bucket, first position and number of sights of each run.
      run, time, previous: int64 [sights], in the order of the runs; `previous` is the time of the sight before.
      is_first: bool [sights]: whether it is the first of its run.
    """

    bucket: tf.Tensor
    start: tf.Tensor
    length: tf.Tensor
    run: tf.Tensor
    time: tf.Tensor
    previous: tf.Tensor
    is_first: tf.Tensor


def _sights(slots: tf.Tensor, time: tf.Tensor | tf.Variable) -> _Sights:
    """The `_Sights` of n examples, slots int64 [hashes, n], that follow example `time`."""
    hashes, count = tf.unstack(tf.shape(slots))
    order = tf.argsort(tf.reshape(slots, [-1]), stable=True)
    example = tf.gather(tf.tile(tf.range(count), [hashes]), order)
    slots = tf.gather(tf.reshape(slots, [-1]), order)
    time = time + 1 + tf.cast(example, tf.int64)
    bucket, run, length = tf.unique_with_counts(slots, out_idx=tf.int64)
    is_first = tf.concat([tf.ones([1], tf.bool), slots[1:] != slots[:-1]], axis=0)[: tf.size(slots)]
    start = tf.cumsum(length, exclusive=True)
    return _Sights(bucket, start, length, run, time, tf.roll(time, 1, axis=0), is_first)


def _mix(ids: tf.Tensor, seed: int) -> tf.Tensor:
    """uint64 → uint64: the finaliser of SplitMix64 (Steele et al. 2014), from another start per seed."""
    x = ids + tf.constant(seed * 0x9E3779B97F4A7C15 % 2**64, tf.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64)))
        x = x * tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.uint64)))
