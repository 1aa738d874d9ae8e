"""The sources of a batch's negatives, freely combined, and the expected count of each candidate."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.ranges import Count, Natural, Share
from tfrs_twotower.sampling.draws import Draws
from tfrs_twotower.sampling.logq import NoCorrection, StaticCorrection
from tfrs_twotower.sampling.streaming import StreamingCorrection


class NegativeSource:
    """Base of the sources of negatives. One of your own is a `Drawn`."""


class Drawn(NegativeSource):
    """Base of the sources that draw items of the catalogue, with replacement, for all rows of a batch together.

    Attributes:
      count: items drawn for a batch.
    """

    count: Count

    def probabilities(self, counts: np.ndarray) -> np.ndarray:
        """float64 [n] with the sum 1: the probability of each item of the catalogue in one draw.

        Args:
          counts: int64 [n], training events of each.
        """
        raise NotImplementedError


@config
class InBatch(NegativeSource):
    """The other rows' positives: free, and drawn by popularity."""


@config
class Uniform(Drawn):
    """`count` items of the catalogue, all equally likely, shared by the batch (mixed negative sampling, Yang et
    al. 2020)."""

    count: Count = 512

    def probabilities(self, counts: np.ndarray) -> np.ndarray:
        return np.full(len(counts), 1 / len(counts))


@config
class Popular(Drawn):
    """`count` items of the catalogue, with probabilities in proportion to (training events + 1)^power."""

    count: Count = 512
    power: Share = 0.75

    def probabilities(self, counts: np.ndarray) -> np.ndarray:
        weight = (np.asarray(counts, np.float64) + 1) ** self.power
        return weight / weight.sum()


@config
class CrossBatch(NegativeSource):
    """The positives of the last batches, with the vectors that they had then (Wang et al. 2021): a queue of `size`.

    Attributes:
      size: positives that are kept.
      warmup_steps: training steps before the first positive is kept; until then only the other sources give negatives.
        At first vectors change so fast that old ones mislead. The authors wait some thousand steps. An update counts
        these steps again.
    """

    size: Count = 4096
    warmup_steps: Natural = 0


@config
class Hard(NegativeSource):
    """`count` items per row, drawn from ranks `first` to `last` of the row's own retrieval (Huang et al. 2020).

    The retrieval searches the candidate tower's vectors of all items, which are computed anew every
    `refresh_steps` steps. Better ranks than `first` are left out: such items are often future positives.
    """

    count: Count = 1
    first: Count = 101
    last: Count = 500
    refresh_steps: Count = 200

    def __post_init__(self) -> None:
        if self.last < self.first:
            rule = f"be at least first={self.first}"
            raise ConfigError(invalid("Hard.last", rule, self.last, "Use a larger one."))


@config
class Explicit(NegativeSource):
    """Items that were shown and not liked, or dropped by a later stage.

    If the log has events with a label of 0 or less, training adds this source with a `count` of 4.

    Attributes:
      column: a context column of lists of item ids; None: the items of the user's events with a label of 0 or less.
      count: the largest number per row. From a column it takes the first ones; from the user's events it draws new
        ones in each step.
    """

    column: str | None = None
    count: Count = 10


class Negatives(tf.keras.layers.Layer):
    """Draws the candidates that all rows of a batch share, and computes the expected count of each.

    Q(c) is the expected count of candidate c in a batch, summed over the sources: in-batch B·p(c), uniform
    M / |catalogue|, popular M·p_power(c), queue (its length)·p(c). So one correction s − log Q(c) is right for all
    sources of c. `Hard` and `Explicit` negatives are chosen for their row, not sampled. They are not corrected (Q = 1).

    Args:
      sources: `InBatch`, `CrossBatch` and `Drawn` ones, each class at most once.
      logq: an estimator of `sampling.logq`: p(c), the share of c among the positives. `NoCorrection` turns the
        whole correction off.
      catalogue: int32 [n], the item rows to draw from.
      counts: int64 [n], training events of each.
      dim: size of the candidate vectors (for the queue).
      seed: of the draws, which a checkpoint holds.
    """

    def __init__(
        self, sources: Sequence[NegativeSource], logq: NoCorrection | StaticCorrection | StreamingCorrection,
        catalogue: np.ndarray, counts: np.ndarray, dim: int, seed: int = 0,
    ) -> None:
        super().__init__(name="negatives")
        kinds = [type(source) for source in sources]
        if len(set(kinds)) < len(kinds):
            rule = "name each source at most once"
            raise ConfigError(invalid("negatives", rule, [k.__name__ for k in kinds], "Raise its count."))
        self.logq = logq
        self.in_batch = InBatch in kinds
        self.catalogue = tf.constant(catalogue, tf.int32)
        self._drawn = [_Draw(s, catalogue, counts) for s in sources if isinstance(s, Drawn)]
        queues = [source for source in sources if isinstance(source, CrossBatch)]
        if queues and queues[0].warmup_steps and len(kinds) == 1:
            rule = "be 0 if there is no other source of negatives"
            way_out = "Add InBatch() to `negatives`."
            raise ConfigError(invalid("CrossBatch.warmup_steps", rule, queues[0].warmup_steps, way_out))
        self.queue = Queue(queues[0].size, dim, queues[0].warmup_steps) if queues else None
        self._draws = Draws(seed)

    def draw(self) -> tf.Tensor:
        """int32 [m]: item rows of this batch's sampled negatives."""
        if not self._drawn:
            return tf.zeros([0], tf.int32)
        return tf.concat([
            tf.gather(self.catalogue, drawn.positions(self._draws)) for drawn in self._drawn
        ], axis=0)

    def expected_count(self, rows: tf.Tensor, batch_size: int | tf.Tensor, training: bool | None) -> tf.Tensor | None:
        """Q of candidates, float32 [c], or None without a correction.

        Args:
          rows: int32 [c], item rows; the first `batch_size` are the batch's positives.
          batch_size: int scalar.
          training: whether a streaming estimate learns from those positives.
        """
        log_in_batch = self.logq.log_expected_count(rows, batch_size, training)
        if log_in_batch is None:
            return None
        expected = tf.zeros_like(rows, tf.float32)
        draws = 1.0 if self.in_batch else 0.0
        if self.queue is not None:
            draws += tf.cast(self.queue.length(), tf.float32) / tf.cast(batch_size, tf.float32)
        expected += draws * tf.exp(log_in_batch)
        for drawn in self._drawn:
            expected += drawn.expected(rows)
        # An item that no source can give, as while the queue is empty, is there only as a positive: once.
        return tf.stop_gradient(tf.where(expected > 0, expected, 1.0))


class _Draw:
    """Draws positions of the catalogue for a `Drawn` source."""

    def __init__(self, source: Drawn, catalogue: np.ndarray, counts: np.ndarray) -> None:
        p = np.asarray(source.probabilities(counts), np.float64)
        if p.shape != np.shape(counts) or not (p >= 0).all() or abs(p.sum() - 1) > 1e-6:
            rule = f"be {len(counts)} numbers of at least 0 that sum to 1"
            raise ConfigError(invalid(f"{type(source).__name__}.probabilities", rule, p, "Divide by their sum."))
        expected = np.zeros(int(np.max(catalogue)) + 1, np.float32)
        expected[catalogue] = source.count * p
        self._count, self._size = source.count, len(p)
        self._expected = tf.constant(expected)
        # The inverse of the distribution: u in [0, 1) falls into item i with probability p(i). In float64, as
        # float32 could not tell the rare items of a large catalogue apart.
        self._ends = tf.constant(np.cumsum(p)) if np.ptp(p) else None

    def positions(self, draws: Draws) -> tf.Tensor:
        """int32 [count]."""
        if self._ends is None:
            return draws.uniform([self._count], 0, self._size, tf.int32)
        u = draws.uniform([self._count], 0, 1, tf.float64)
        return tf.minimum(tf.searchsorted(self._ends, u, side="right"), self._size - 1)

    def expected(self, rows: tf.Tensor) -> tf.Tensor:
        """float32 [c]: the expected count of each item row in `count` draws."""
        known = tf.logical_and(rows >= 0, rows < tf.size(self._expected))
        return tf.where(known, tf.gather(self._expected, tf.where(known, rows, 0)), 0.0)


class Queue(tf.Module):
    """The newest `size` positives of earlier batches, rows and vectors, first in, first out; empty for `warmup` pushes.

    While it is empty, it adds nothing to Q: the correction is that of the other sources.
    """

    def __init__(self, size: int, dim: int, warmup: int = 0) -> None:
        super().__init__(name="queue")
        self._size, self._warmup = size, warmup
        self._rows = tf.Variable(tf.fill([size], -1), trainable=False, name="rows")
        self._vectors = tf.Variable(tf.zeros([size, dim]), trainable=False, name="vectors")
        self._seen = tf.Variable(0, trainable=False, dtype=tf.int64, name="seen")
        # Only if it is set, so that earlier checkpoints fit.
        self._pushes = tf.Variable(0, trainable=False, dtype=tf.int64, name="pushes") if warmup else None

    def length(self) -> tf.Tensor:
        """The number of entries in use, int64 scalar."""
        return tf.minimum(self._seen, self._size)

    def read(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(rows int32 [size], −1 where empty; vectors float32 [size, dim])."""
        return tf.identity(self._rows), tf.identity(self._vectors)

    def push(self, rows: tf.Tensor, vectors: tf.Tensor) -> None:
        """Adds a batch: rows int32 [b], vectors [b, dim]. It replaces the oldest entries."""
        kept = tf.minimum(tf.shape(rows)[0], self._size)
        if self._pushes is not None:
            kept = tf.where(self._pushes < self._warmup, 0, kept)
            self._pushes.assign_add(1)
        first = tf.shape(rows)[0] - kept
        rows, vectors, count = rows[first:], vectors[first:], tf.cast(kept, tf.int64)
        places = (self._seen + tf.range(count)) % self._size
        self._rows.scatter_update(tf.IndexedSlices(rows, places))
        self._vectors.scatter_update(tf.IndexedSlices(tf.cast(tf.stop_gradient(vectors), tf.float32), places))
        self._seen.assign_add(count)
