"""16-bit arithmetic and XLA: the same model, within their rounding, and float32 at its edges."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower.configuration import override
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import LazyAdamConfig, RowWiseAdagradConfig
from tfrs_twotower.training.optimizers import build


def _recall(run):
    return run.evaluate()["test"]["recall@10"]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_towers_in_16_bits_learn_as_well(tmp_path, trained, precision):
    run = toy.train(tmp_path, precision=precision)
    model, batch = run.assembly.model, next(iter(run.assembly.batches.dataset(0, 1)))
    assert model.query_tower.encoder.compute_dtype == precision
    queries, candidates = model(batch)
    assert queries.dtype == candidates.dtype == tf.float32
    np.testing.assert_allclose(tf.norm(queries, axis=1), 1.0, atol=1e-6)
    assert all(v.dtype == tf.float32 for v in model.trainable_variables)
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    assert _recall(run) == pytest.approx(_recall(trained), abs=0.03)


def test_a_gradient_that_overflows_float16_is_left_out_and_the_scale_lowered(tmp_path):
    run = toy.train(tmp_path, precision="float16", epochs=1, optimizer=RowWiseAdagradConfig(learning_rate=0.01))
    model = run.assembly.model
    before, scale = toy.weights(run), 2.0**60
    model.compile(optimizer=build(run.recipe.training.optimizer, 1))
    model.optimizer._loss_scale._current_loss_scale.assign(scale)
    model.fit(run.assembly.batches.dataset(0, 1), verbose=0)
    assert float(model.optimizer.loss_scale) == scale / 2
    assert all(np.array_equal(before[k], v) for k, v in toy.weights(run).items())


def _without_dropout(directory, **training):
    recipe = toy.recipe(epochs=1, optimizer=LazyAdamConfig(learning_rate=0.001), **training)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, query_encoder=MLP(widths=(32,))))
    return Recommender(recipe, directory=directory, **toy.planted()[0]).fit(verbose=0)


def test_xla_gives_the_same_weights(tmp_path):
    """But for dropout: XLA draws other numbers."""
    plain, compiled = _without_dropout(tmp_path / "plain"), _without_dropout(tmp_path / "xla", xla=True)
    for name, values in toy.weights(plain).items():
        np.testing.assert_allclose(toy.weights(compiled)[name], values, atol=2e-4, err_msg=name)
    path = compiled.export(root=tmp_path / "export", flavour="portable")
    assert b"_XlaMustCompile" not in (path / "saved_model.pb").read_bytes()


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="bfloat17"):
        override(toy.recipe(), ["training.precision=bfloat17"])
