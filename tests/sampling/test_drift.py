"""The drifting stream and the error on it, where both are known."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.sampling import StaticCorrection, StreamingCorrection
from tfrs_twotower.sampling.drift import believed_of_the_gone, drifting_popularity, tracking_errors


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


def test_some_items_are_born_and_die():
    mortal = drifting_popularity(200, swing=0.0, mortal=0.4)
    there = np.array([mortal(phase) > 0 for phase in np.arange(0, 2, 0.05)])
    dies = ~there.all(axis=0)
    assert 60 < dies.sum() < 100  # 0.4 of 200
    np.testing.assert_allclose(there[:, dies].mean(axis=0), 0.5, atol=0.06)
    np.testing.assert_array_equal(there[:20], there[20:])  # they come back
    assert abs(mortal(0.3).sum() - 1) < 1e-12


def test_the_error_of_a_known_estimate():
    p = drifting_popularity(20, swing=0.0)
    errors = tracking_errors({"right": Knows(p(0)), "twice": Knows(p(0), 2.0)}, p, 3, 8, period=10)
    np.testing.assert_allclose(errors["right"], 0, atol=1e-6)
    np.testing.assert_allclose(errors["twice"], np.log(2), rtol=1e-6)


def test_what_is_believed_of_items_that_are_gone():
    def popularity(phase):
        return np.array([0.75, 0.25, 0.0, 0.0])

    late = {"late": Knows(np.array([0.75, 0.25, 0.1, 0.2]))}
    np.testing.assert_allclose(tracking_errors(late, popularity, 3, 8, period=10)["late"], 0, atol=1e-6)
    np.testing.assert_allclose(believed_of_the_gone(late, popularity, 3, 8, period=10)["late"], 0.3, rtol=1e-6)


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


def test_a_streaming_estimate_follows_births_and_deaths():
    """Half of the items are there for 60 batches and gone for the next 60."""
    popularity = drifting_popularity(40, swing=0.0, mortal=0.5)

    def evaluated(measure):
        estimators = {"0.02": StreamingCorrection(40, 0.02)}
        return measure(estimators, popularity, 180, 256, period=120)["0.02"][60:]

    # Noise is √(0.02 / 2) = 0.1; the rest is what the first sights of a new life cost.
    assert np.median(evaluated(tracking_errors)) < 0.35
    assert evaluated(believed_of_the_gone).mean() < 0.05  # by 1/B alone, a third of the probability
