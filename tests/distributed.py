"""A training in a process of its own, on the devices of the first argument: `python distributed.py KIND FOLDER`.

KIND: `mirrored` (two logical CPUs), or `workers` (a worker of the cluster in TF_CONFIG). What it learned goes to
FOLDER/<KIND and worker>.npz.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import toy  # noqa: E402

from tfrs_twotower.features import Category, History, Id, Number, Schema  # noqa: E402
from tfrs_twotower.losses import RefinedSampledSoftmax  # noqa: E402
from tfrs_twotower.models import LearnedTemperature  # noqa: E402
from tfrs_twotower.recommender import Recommender  # noqa: E402
from tfrs_twotower.sampling import CrossBatch, Hard, InBatch, Popular, Uniform  # noqa: E402
from tfrs_twotower.towers import MLP  # noqa: E402
from tfrs_twotower.training import LazyAdamConfig  # noqa: E402

import tensorflow as tf  # noqa: E402 # isort: skip
import numpy as np  # noqa: E402 # isort: skip

EPOCHS, BATCH = 2, 501  # of two devices one gets a row more


def recipe():
    """All that the rows of a batch share: every source of negatives, masks, estimates, a learned temperature.

    Without dropout, whose masks are each device's own.
    """
    plain = toy.recipe(
        epochs=EPOCHS, batch_size=BATCH, patience=0, checkpoint_steps=4,
        optimizer=LazyAdamConfig(learning_rate=0.01, global_clipnorm=1.0, weight_decay=0.01),
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
    return dataclasses.replace(plain, schema=schema, model=model)


def train(directory):
    """Trains on events of unequal weight."""
    frames, _ = toy.planted()
    events = frames["interactions"]
    frames["interactions"] = events.assign(weight=1.0 + np.arange(len(events)) % 3)
    return Recommender(recipe(), directory=directory, **frames).fit(verbose=0)


def learned(run):
    """{name: array}: the weights, and the state that the objective keeps from step to step."""
    objective = run.assembly.model.objective
    logq, queue = objective.negatives.logq, objective.negatives.queue
    state = {"gap": logq._gap, "sights": logq._sights, "queued": queue._rows, "queue": queue._vectors,
             "hard": objective.hard._vectors}
    return {**toy.weights(run), **{name: variable.numpy() for name, variable in state.items()}}


def strategy(kind):
    """The `tf.distribute` strategy of a kind, which must be made before anything else of TensorFlow runs."""
    if kind == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def main(kind, folder):
    worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"] if kind == "workers" else ""
    with strategy(kind).scope():
        run = train(Path(folder) / kind)
    np.savez(Path(folder) / f"{kind}{worker}.npz", **learned(run))


if __name__ == "__main__":
    main(*sys.argv[1:])
