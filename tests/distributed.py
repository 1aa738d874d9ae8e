"""What trainings on several devices share. A machine without GPUs has two CPUs."""

import dataclasses
import json
import os

import ports
import toy

from tfrs_twotower.cli.main import main
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.data import Columns, Files
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Category, History, Id, Number, Schema
from tfrs_twotower.losses import RefinedSampledSoftmax
from tfrs_twotower.models import LearnedTemperature
from tfrs_twotower.sampling import CrossBatch, Hard, HardNegatives, InBatch, Popular, Uniform
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import LazyAdamConfig

import tensorflow as tf  # isort: skip
import numpy as np  # isort: skip

EPOCHS, BATCH = 2, 501  # of two devices one gets a row more


def recipe(folder):
    """All that the rows of a batch share: every source of negatives, masks, estimates, a learned temperature.

    Without dropout, whose masks are each device's own, and on events of unequal weight, which lie in `folder`.
    """
    frames, _ = toy.planted()
    events = frames["interactions"]
    events.assign(weight=1.0 + np.arange(len(events)) % 3).to_parquet(folder / "events.parquet")
    frames["items"].to_parquet(folder / "items.parquet")
    plain = toy.recipe(
        epochs=EPOCHS, batch_size=BATCH, patience=0, checkpoint_steps=4,
        # By Adam's own epsilon, a gradient that is nothing but rounding moves a weight as far as any other.
        optimizer=LazyAdamConfig(learning_rate=0.01, global_clipnorm=1.0, weight_decay=0.01, epsilon=1e-4),
    )
    sources = (InBatch(), Uniform(32), Popular(32), CrossBatch(700), Hard(count=2, first=11, last=50, refresh_steps=7))
    model = dataclasses.replace(
        plain.model, query_encoder=MLP(widths=(32,)), loss=RefinedSampledSoftmax(), negatives=sources,
        temperature=LearnedTemperature(initial=0.1, low=0.05, high=0.5),
    )
    schema = Schema(
        query=(Id("user_id", dropout=0.0), History(length=10)),
        candidate=(Id("item_id", dropout=0.0), Category("category"), Number("price")),
    )
    source = Files(
        str(folder / "events.parquet"), items_path=str(folder / "items.parquet"), columns=Columns(weight="weight")
    )
    evaluation = EvaluationConfig(ks=(5, 10), bootstrap=0, baseline_seconds=0)
    return dataclasses.replace(plain, source=source, schema=schema, model=model, evaluation=evaluation)


def in_order(hard, queries):
    """In place of `HardNegatives.ranked`: the order of the catalogue, for every query.

    Devices sum in another order than one does. Where two items score nearly the same, that now and then turns their
    ranks round. Then another item is a negative, and from there on the trainings differ by .01 and more. Without such
    a choice they differ by rounding alone.
    """
    return tf.tile(tf.range(hard._last)[tf.newaxis], [tf.shape(queries)[0], 1])


def cluster(**jobs):
    """{job: the addresses of its tasks}, for how many tasks each job has."""
    free = iter(ports.free(sum(jobs.values())))
    return {job: [f"localhost:{next(free)}" for _ in range(count)] for job, count in jobs.items()}


def write(recipe, path):
    """Writes a recipe where `twotower train` can read it."""
    path.write_text(json.dumps(to_dict(recipe)), encoding="utf-8")


def learned(run):
    """{name: array}: the weights, and the state that the objective keeps from step to step."""
    objective = run.assembly.model.objective
    logq, queue = objective.negatives.logq, objective.negatives.queue
    state = {"gap": logq._gap, "sights": logq._sights, "queued": queue._rows, "queue": queue._vectors,
             "hard": objective.hard._vectors}
    return {**toy.weights(run), **{name: variable.numpy() for name, variable in state.items()}}


def two_devices():
    """Makes two CPUs of one, before TensorFlow starts."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def run(arguments):
    """`twotower train …` by two devices, unless this process is one of several; for a process of its own."""
    if "TF_CONFIG" not in os.environ:
        two_devices()
    HardNegatives.ranked = in_order
    return main([str(argument) for argument in arguments])
