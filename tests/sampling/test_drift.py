"""The drifting stream and the error on it, where both are known."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.sampling import StaticCorrection, StreamingCorrection
from tfrs_twotower.sampling.drift import drifting_popularity, tracking_errors


class Knows:
    """Says p(c) times `factor` of a popularity that stands still."""

    def __init__(self, p, factor=1.0):
        self._log = np.log(p * factor).astype(np.float32)

    def log_expected_count(self, rows, batch_size, training):
        return tf.gather(self._log, rows)


def test_popularity_by_hand():
    still = drifting_popularity(3, swing=0.0)
    np.testing.assert_allclose(still(0.3), np.array([6, 3, 2]) / 11)
    turning = drifting_popularity(50, swing=np.log(3))
    assert all(abs(turning(phase).sum() - 1) < 1e-12 for phase in (0.0, 0.4))
    np.testing.assert_allclose(turning(0.25), turning(1.25))
    ratio = (turning(0.1) / turning(0.6)) / (turning(0.1) / turning(0.6))[0]  # half a turn apart
    assert ratio.max() / ratio.min() > 9


def test_the_error_of_a_known_estimate():
    p = drifting_popularity(20, swing=0.0)
    errors = tracking_errors({"right": Knows(p(0)), "twice": Knows(p(0), 2.0)}, p, 3, 8, period=10)
    np.testing.assert_allclose(errors["right"], 0, atol=1e-6)
    np.testing.assert_allclose(errors["twice"], np.log(2), rtol=1e-6)


def test_a_streaming_estimate_follows_a_drift_that_static_counts_miss():
    popularity = drifting_popularity(40, swing=np.log(3))
    whole = np.mean([popularity(phase) for phase in np.linspace(0, 1, 100)], axis=0)
    estimators = {
        "static": StaticCorrection(whole * 1e6), "0.05": StreamingCorrection(40, 0.05),
        "0.5": StreamingCorrection(40, 0.5),
    }
    errors = tracking_errors(estimators, popularity, 120, 256, period=120)
    late = {name: error[60:].mean() for name, error in errors.items()}
    assert late["0.05"] < 0.6 * late["static"]
    assert late["0.05"] < late["0.5"]  # too quick: the noise of single gaps
