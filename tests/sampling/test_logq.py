"""Sampling probabilities from counts, and the configuration that chooses an estimator."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.sampling import (
    NoCorrection,
    NoLogQ,
    StaticCorrection,
    StaticLogQ,
    StreamingCorrection,
    StreamingLogQ,
    build_logq,
)


def test_static_counts_are_smoothed_by_one():
    log_q = StaticCorrection([0, 2, 4]).log_expected_count(tf.constant([0, 2, 1]), 10, True)
    np.testing.assert_allclose(log_q, np.log([10 * 1 / 9, 10 * 5 / 9, 10 * 3 / 9]), rtol=1e-6)


def test_static_has_no_floor():
    log_q = StaticCorrection([0, 10**9 - 2]).log_expected_count(tf.constant([0]), 1, False)
    np.testing.assert_allclose(log_q, [np.log(1e-9)], rtol=1e-6)


def test_static_refuses_string_ids_and_negative_counts():
    with pytest.raises(ConfigError, match="integer rows"):
        StaticCorrection([1, 2]).log_expected_count(tf.constant(["a"]), 1, True)
    with pytest.raises(ConfigError, match="at least 0"):
        StaticCorrection([1, -2])


def test_no_correction_is_none():
    assert NoCorrection().log_expected_count(tf.constant([3, 4]), 2, True) is None


def test_configuration_chooses_the_estimator():
    counts = np.array([5, 0, 1])
    assert isinstance(build_logq(NoLogQ(), counts), NoCorrection)
    assert isinstance(build_logq(StaticLogQ(), counts), StaticCorrection)
    per_row = build_logq(StreamingLogQ(), counts)
    assert isinstance(per_row, StreamingCorrection)
    assert sorted(w.shape.num_elements() for w in per_row.weights) == [1, 3, 3, 3]
    hashed = build_logq(StreamingLogQ(buckets=7, hashes=2), counts)
    assert sorted(w.shape.num_elements() for w in hashed.weights) == [1, 14, 14, 14]


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.5}, {"buckets": 0}, {"hashes": 0}])
def test_configuration_is_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        StreamingLogQ(**wrong)
