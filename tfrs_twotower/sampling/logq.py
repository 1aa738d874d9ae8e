"""The expected count of a candidate among a batch's candidates: the Q of the correction s − log Q.

An estimator is a layer with one method:

    log_expected_count(candidate_rows [c], batch_size, training) -> float32 [c], or None for no correction

It returns log(batch_size · p(c)). The first `batch_size` candidates are the positives of the batch's
rows, drawn from p. The other candidates come from other sources.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.data import log_popularity
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.sampling.config import NoLogQ, StaticLogQ, StreamingLogQ
from tfrs_twotower.sampling.streaming import StreamingCorrection


class NoCorrection(tf.keras.layers.Layer):
    """No candidate is corrected."""

    def log_expected_count(self, candidate_rows: tf.Tensor, batch_size: int | tf.Tensor, training: bool | None) -> None:
        """None."""
        return None


class StaticCorrection(tf.keras.layers.Layer):
    """p(c) = (count + 1) / Σ (count + 1), from the counts of the training rows.

    The counts are smoothed and there is no floor: a floor would flatten the correction of rare items,
    which are most of a large catalogue.
    """

    def __init__(self, counts: np.ndarray | Sequence[int], name: str | None = None) -> None:
        """Args: counts: int [catalogue], the training rows in which each catalogue row is the positive."""
        super().__init__(name=name)
        if np.ndim(counts) != 1 or not np.all(np.asarray(counts) >= 0):
            raise ConfigError(
                invalid("counts", "be a vector of numbers at least 0", counts, "Count the training rows.")
            )
        self._log_p = tf.Variable(log_popularity(counts).astype(np.float32), trainable=False, name="log_p")

    def log_expected_count(
        self, candidate_rows: tf.Tensor, batch_size: int | tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """float32 [c]; candidate_rows: int [c], rows of `counts`."""
        if not candidate_rows.dtype.is_integer:
            raise ConfigError(
                invalid(
                    "candidate_rows",
                    "be integer rows of the catalogue for the static correction",
                    candidate_rows.dtype.name,
                    "Look the ids up first, or use the streaming correction, which takes strings.",
                )
            )
        return tf.math.log(tf.cast(batch_size, tf.float32)) + tf.gather(self._log_p, tf.maximum(candidate_rows, 0))


def build_logq(
    config: NoLogQ | StaticLogQ | StreamingLogQ, counts: np.ndarray, past: np.ndarray | Sequence[int] = ()
) -> NoCorrection | StaticCorrection | StreamingCorrection:
    """The estimator of a configuration.

    Args:
      config: NoLogQ, StaticLogQ or StreamingLogQ.
      counts: int [catalogue], training rows per catalogue row.
      past: int [n], catalogue rows: the positives of an earlier training, in their order.
    """
    if isinstance(config, NoLogQ):
        return NoCorrection()
    if isinstance(config, StaticLogQ):
        return StaticCorrection(counts)
    if config.buckets is None:
        correction = StreamingCorrection(len(counts), config.alpha)
    else:
        correction = StreamingCorrection(config.buckets, config.alpha, config.hashes)
    if len(past):
        correction.start_from(past)
    return correction
