"""The temperature keeps its bounds and learns."""

import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.models import (
    FixedTemperature,
    LearnedTemperature,
    Retrieval,
    ScheduledTemperature,
    build_temperature,
)


def test_fixed_has_no_weight():
    temperature = build_temperature(FixedTemperature(0.07))
    assert float(temperature.value()) == pytest.approx(0.07)
    assert not temperature.weights


def test_learned_starts_where_told_and_has_a_gradient():
    temperature = build_temperature(LearnedTemperature(initial=0.05, low=0.01, high=1.0))
    with tf.GradientTape() as tape:
        value = temperature.value()
    assert float(value) == pytest.approx(0.05, rel=1e-5)
    # dτ/dx = τ · log(high / low) · s(1 − s), s = log 5 / log 100.
    share = 1.6094379 / 4.6051702
    expected = 0.05 * 4.6051702 * share * (1 - share)
    assert float(tape.gradient(value, temperature.trainable_weights[0])) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("x, bound", [(-50.0, 0.01), (50.0, 1.0)])
def test_learned_stays_within_bounds(x, bound):
    temperature = build_temperature(LearnedTemperature())
    temperature.trainable_weights[0].assign(x)
    assert float(temperature.value()) == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize("make", [lambda: FixedTemperature(0.0), lambda: LearnedTemperature(initial=2.0),
                                  lambda: ScheduledTemperature(end=0.0), lambda: ScheduledTemperature(steps=0)])
def test_wrong_values(make):
    with pytest.raises(ConfigError, match="value|initial|end|steps"):
        make()


def test_scheduled_goes_from_start_to_end_by_equal_factors_with_each_training_step():
    task = Retrieval(temperature=ScheduledTemperature(start=0.2, end=0.05, steps=4))
    found = []
    for _ in range(6):
        found.append(float(task.temperature.value()))
        task(tf.eye(2), tf.eye(2), candidate_ids=tf.constant([0, 1]), training=True)
        task(tf.eye(2), tf.eye(2), candidate_ids=tf.constant([0, 1]))  # an evaluation is no step
    assert found == pytest.approx([0.2, 0.2 / 2**0.5, 0.1, 0.1 / 2**0.5, 0.05, 0.05], rel=1e-5)
    assert [int(weight) for weight in task.temperature.non_trainable_weights] == [6]


@pytest.mark.parametrize("config", [FixedTemperature(), ScheduledTemperature(), LearnedTemperature()])
def test_a_training_step_is_graph_code_so_no_user_meets_autographs_warning(config):
    assert tf.autograph.to_graph(build_temperature(config).advance)  # raises where AutoGraph would warn
