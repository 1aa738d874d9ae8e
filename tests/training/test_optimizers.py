"""Lazy Adam and row-wise Adagrad against the dense rules and plain loops."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.configuration import from_dict, override, to_dict
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.training.optimizers import (
    LazyAdam,
    LazyAdamConfig,
    RowWiseAdagrad,
    RowWiseAdagradConfig,
    WarmupCosine,
    build,
)

BOTH = pytest.mark.parametrize("make", [LazyAdam, RowWiseAdagrad])


def table(rows=6, dim=3, seed=0):
    return tf.Variable(np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32), name="table")


def slices(rows, values, of):
    values = tf.constant(values, tf.float32)
    return tf.IndexedSlices(values, tf.constant(rows), tf.constant(of.shape.as_list()))


def gradients(steps, shape, seed=1):
    return np.random.default_rng(seed).normal(size=(steps, *shape)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"global_clipnorm": 0.5}, {"clipnorm": 0.5}])
def test_lazy_adam_equals_keras_adam_when_every_row_is_touched(options):
    lazy, dense, sparse = table(), table(), table()
    ours, ours_sparse = LazyAdam(0.01, **options), LazyAdam(0.01, **options)
    keras = tf.keras.optimizers.Adam(0.01, jit_compile=False, **options)
    for g in gradients(20, (6, 3)):
        order = np.random.default_rng(int(1e6 * abs(g[0, 0]))).permutation(6)
        ours.apply_gradients([(tf.constant(g), lazy)])
        ours_sparse.apply_gradients([(slices(order, g[order], sparse), sparse)])
        keras.apply_gradients([(tf.constant(g), dense)])
    np.testing.assert_allclose(lazy, dense, atol=1e-6)
    np.testing.assert_allclose(sparse, dense, atol=1e-6)


def test_lazy_adam_by_hand_where_rows_come_and_go():
    weights = table(rows=3, dim=2)
    expected = weights.numpy().astype(np.float64)
    m, v = np.zeros_like(expected), np.zeros_like(expected)
    optimizer = LazyAdam(0.1, beta_1=0.8, beta_2=0.9, epsilon=1e-3)
    touched = [[0, 1], [1], [2], [0, 2], [1]]
    for t, (rows, g) in enumerate(zip(touched, gradients(5, (3, 2))), start=1):
        optimizer.apply_gradients([(slices(rows, g[rows], weights), weights)])
        for row in rows:
            m[row] = 0.8 * m[row] + 0.2 * g[row]
            v[row] = 0.9 * v[row] + 0.1 * g[row] ** 2
            rate = 0.1 * np.sqrt(1 - 0.9**t) / (1 - 0.8**t)
            expected[row] -= rate * m[row] / (np.sqrt(v[row]) + 1e-3)
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_row_wise_adagrad_equals_a_loop(decay):
    weights = table(rows=4, dim=3)
    expected = weights.numpy().astype(np.float64)
    sums = np.full(4, 0.5)
    optimizer = RowWiseAdagrad(0.1, initial_accumulator_value=0.5, epsilon=1e-3, weight_decay=decay)
    for rows, g in zip([[0, 1], [1, 3], [3], [0, 1, 2, 3]], gradients(4, (4, 3))):
        optimizer.apply_gradients([(slices(rows, g[rows], weights), weights)])
        for row in rows:
            sums[row] += np.mean(g[row].astype(np.float64) ** 2)
            expected[row] -= 0.1 * decay * expected[row] + 0.1 * g[row] / np.sqrt(sums[row] + 1e-3)
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    (accumulator,) = [w for w in optimizer.variables if "accumulator" in w.name]
    np.testing.assert_allclose(accumulator, sums, rtol=1e-6)


def test_row_wise_adagrad_is_plain_adagrad_for_dense_gradients():
    ours, theirs = table(), table()
    optimizer = RowWiseAdagrad(0.1, initial_accumulator_value=0.1, epsilon=1e-7)
    keras = tf.keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.1, epsilon=1e-7, jit_compile=False)
    for g in gradients(10, (6, 3)):
        optimizer.apply_gradients([(tf.constant(g), ours)])
        keras.apply_gradients([(tf.constant(g), theirs)])
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@BOTH
def test_a_replica_sends_a_row_once(make, monkeypatch):
    weights, optimizer, sent = table(dim=1), make(0.1), []
    monkeypatch.setattr(tf.keras.optimizers.Optimizer, "aggregate_gradients", lambda self, pairs: sent.extend(pairs))
    for replicas, rows, values in ((1, [2, 0, 2], [1, 2, 3]), (2, [2, 0], [4, 2])):
        monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=replicas))
        optimizer.aggregate_gradients([(slices([2, 0, 2], [[1], [2], [3]], weights), weights), (None, table())])
        (gradient, _), (nothing, _) = sent[-2:]
        assert (gradient.indices.numpy().tolist(), gradient.values.numpy()[:, 0].tolist()) == (rows, values)
        assert nothing is None


@BOTH
def test_duplicate_rows_are_summed_first(make):
    once, twice = table(), table()
    first, second = make(0.1, global_clipnorm=1.0), make(0.1, global_clipnorm=1.0)
    for g in gradients(3, (3,)):
        first.apply_gradients([(slices([4], [2 * g], once), once)])
        second.apply_gradients([(slices([4, 4], [3 * g, -g], twice), twice)])
    np.testing.assert_allclose(once, twice, atol=1e-6)


@BOTH
def test_untouched_rows_and_their_slots_stay_bit_identical(make):
    weights = table(rows=50)
    optimizer = make(0.1, weight_decay=0.1, global_clipnorm=1.0)
    optimizer.apply_gradients([(slices(np.arange(50), gradients(1, (50, 3))[0], weights), weights)])
    slots = [s for s in optimizer.variables if s.shape.rank and s.shape[0] == 50]
    assert len(slots) == (2 if make is LazyAdam else 1)
    before = [s.numpy() for s in [weights, *slots]]
    for g in gradients(5, (2, 3)):
        optimizer.apply_gradients([(slices([7, 30], g, weights), weights)])
    others = np.setdiff1d(np.arange(50), [7, 30])
    for old, new in zip(before, [weights, *slots]):
        np.testing.assert_array_equal(new.numpy()[others], old[others])
        assert (new.numpy()[[7, 30]] != old[[7, 30]]).any()


def whole_table_ops(optimizer, rows=977, dim=5):
    """Names of the ops of one sparse step that give out as many rows as the table has."""
    weights = tf.Variable(tf.zeros([rows, dim]))

    @tf.function
    def step(indices, values):
        optimizer.apply_gradients([(tf.IndexedSlices(values, indices, [rows, dim]), weights)])

    graph = step.get_concrete_function(tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, dim])).graph
    outputs = [output for operation in graph.get_operations() for output in operation.outputs]
    return [o.name for o in outputs if o.dtype != tf.resource and o.shape.rank and o.shape[0] == rows]


@BOTH
def test_no_op_of_a_step_works_on_a_whole_table(make):
    assert not whole_table_ops(make(0.1, weight_decay=0.1, global_clipnorm=1.0))
    assert whole_table_ops(tf.keras.optimizers.Adam(jit_compile=False))  # so this test can see one


@BOTH
def test_clipping_scales_all_gradients_by_one_norm(make):
    """Norm of (3, 4 | 12) is 13; the sparse part has its 3 split over duplicates."""
    weights, bias = tf.Variable(tf.zeros([5, 2])), tf.Variable([0.0])
    seen = {}

    class Spy(make):
        def update_step(self, gradient, variable):
            seen[variable.ref()] = gradient
            super().update_step(gradient, variable)

    Spy(0.1, global_clipnorm=1.3).apply_gradients(
        [(slices([1, 1], [[1.0, 4.0], [2.0, 0.0]], weights), weights), (tf.constant([12.0]), bias)]
    )
    sparse = seen[weights.ref()]
    assert isinstance(sparse, tf.IndexedSlices)
    assert sparse.indices.numpy().tolist() == [1]
    np.testing.assert_allclose(sparse.values, [[0.3, 0.4]], rtol=1e-5)
    np.testing.assert_allclose(seen[bias.ref()], [1.2], rtol=1e-5)


def model(optimizer, seed=0):
    tf.keras.utils.set_random_seed(seed)
    net = tf.keras.Sequential(
        [
            tf.keras.layers.Embedding(40, 4, input_length=3),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(1),
        ]
    )
    net.compile(optimizer, "mse")
    return net


def data():
    ids = np.random.default_rng(0).integers(0, 40, (64, 3))
    return ids, (ids % 2).sum(axis=1, keepdims=True).astype(np.float32)


@pytest.mark.parametrize("config", [LazyAdamConfig(0.05, WarmupCosine(0.1)), RowWiseAdagradConfig(0.1)])
def test_fit_learns_and_a_restored_run_goes_on_as_if_uninterrupted(config, tmp_path):
    x, y = data()
    straight = model(build(config, 60))
    losses = straight.fit(x, y, batch_size=16, epochs=15, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]

    first = model(build(config, 60))
    first.fit(x, y, batch_size=16, epochs=7, shuffle=False, verbose=0)
    path = tf.train.Checkpoint(model=first, optimizer=first.optimizer).save(str(tmp_path / "ckpt"))

    second = model(build(config, 60), seed=9)
    second(x[:1])
    second.optimizer.build(second.trainable_variables)
    status = tf.train.Checkpoint(model=second, optimizer=second.optimizer).restore(path)
    status.assert_existing_objects_matched()
    second.fit(x, y, batch_size=16, epochs=8, shuffle=False, verbose=0)
    status.assert_consumed()
    for ours, theirs in zip(second.weights, straight.weights):
        np.testing.assert_array_equal(ours, theirs)


def test_row_wise_state_is_a_number_a_row():
    net = model(RowWiseAdagrad())
    net.fit(*data(), verbose=0)
    shapes = sorted(tuple(w.shape) for w in net.optimizer.variables if "accumulator" in w.name)
    assert shapes == [(1,), (12, 1), (40,)]


def test_warm_up_and_cosine():
    rate = build(LazyAdamConfig(0.4, WarmupCosine(warmup=0.2, final=0.1)), 20)._learning_rate
    assert [round(float(rate(step)), 6) for step in (0, 2, 4, 12, 20)] == [0.1, 0.25, 0.4, 0.22, 0.04]
    rate = build(RowWiseAdagradConfig(0.4, WarmupCosine(warmup=0.0)), 20)._learning_rate
    assert [round(float(rate(step)), 6) for step in (0, 10, 20)] == [0.4, 0.2, 0.0]


@BOTH
def test_keras_can_serialise_and_copy(make):
    optimizer = make(0.3, weight_decay=0.1, global_clipnorm=2.0)
    copy = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
    assert type(copy) is make
    assert copy.get_config() == optimizer.get_config()


def test_configuration_round_trip_and_checks():
    config = RowWiseAdagradConfig(0.2, WarmupCosine(0.3), global_clipnorm=1.0)
    assert from_dict(to_dict(config)) == config
    assert override(config, ["schedule.final=0.5"]).schedule.final == 0.5
    assert isinstance(build(config, 10), RowWiseAdagrad)
    for wrong in ({"learning_rate": 0.0}, {"weight_decay": -1.0}, {"global_clipnorm": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            LazyAdamConfig(**wrong)
    with pytest.raises(ConfigError, match="warmup"):
        WarmupCosine(warmup=1.0)
