"""CIN by hand: products of fields, number by number, weighed by every map."""

import numpy as np
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.towers import CIN, build_encoder

import tensorflow as tf  # isort: skip


def test_the_formula_of_the_paper():
    encoder, rng = build_encoder(CIN(maps=(3, 2), dim=4), seed=1), np.random.default_rng(0)
    fields = [rng.normal(size=[5, dim]).astype(np.float32) for dim in (6, 2)]
    found = encoder([tf.constant(field) for field in fields]).numpy()
    *kernels, first, second = [weight.numpy() for weight in encoder.trainable_weights]
    x0 = [field @ kernel for field, kernel in zip(fields, kernels)]
    assert found.shape == (5, 3 + 2) and first.shape == (2 * 2, 3) and second.shape == (3 * 2, 2)

    def layer(x, weight):
        return [
            sum(weight[i * len(x0) + j, h] * x[i] * x0[j] for i in range(len(x)) for j in range(len(x0)))
            for h in range(weight.shape[1])
        ]

    x1 = layer(x0, first)
    expected = [maps.sum(axis=1) for maps in (*x1, *layer(x1, second))]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-4, atol=1e-5)


def test_one_field_and_one_map_is_a_power():
    encoder = build_encoder(CIN(maps=(1, 1), dim=2))
    encoder([tf.ones([1, 2])])
    encoder.set_weights([np.eye(2), np.array([[2.0]]), np.array([[3.0]])])
    # X¹ = 2 (1, 4), of the sum 10; X² = 6 (1, 8), of the sum 54.
    np.testing.assert_allclose(encoder([tf.constant([[1.0, 2.0]])]), [[10.0, 54.0]])


@pytest.mark.parametrize("make, message", [
    (lambda: CIN(maps=()), "CIN.maps"), (lambda: CIN(maps=(4, 0)), "CIN.maps"), (lambda: CIN(dim=0), "CIN.dim"),
])
def test_settings_are_checked(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
