"""DCN-v2, by values."""

import numpy as np
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.towers import DCN, build_encoder

import tensorflow as tf  # isort: skip


def test_by_hand():
    encoder = build_encoder(DCN(layers=2))
    first, second = tf.constant([[1.0]]), tf.constant([[2.0]])
    encoder([first, second])
    swap, bias = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1.0, 0.0])
    encoder.set_weights([swap, bias, swap, bias])
    # x₀ = (1, 2). Layer 1: W x + b = (2 + 1, 1) → (1·3, 2·1) + (1, 2) = (4, 4). Layer 2: (5, 4) → (5, 8) + (4, 4).
    np.testing.assert_allclose(encoder([first, second]), [[9.0, 12.0]])


def test_low_rank_has_two_thin_matrices_that_start_apart():
    values = tf.random.stateless_normal([2, 5], [1, 2])
    encoder = build_encoder(DCN(layers=2, rank=1))
    encoder([values])
    weights = encoder.get_weights()
    assert [w.shape for w in weights] == [(5, 1), (1, 5), (5,)] * 2
    assert not np.allclose(weights[0], weights[3])


@pytest.mark.parametrize("settings", [{"layers": 0}, {"rank": 0}])
def test_settings_are_checked(settings):
    with pytest.raises(ConfigError, match=f"DCN.{next(iter(settings))}"):
        DCN(**settings)
