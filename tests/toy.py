"""A small recommender on planted data, trained once for all tests that need one."""

import contextlib
import dataclasses
import os
import signal
import sys

import numpy as np
import pytest

from tfrs_twotower import columns as c
from tfrs_twotower.data import synthetic
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.exporting import export, signatures
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import LazyAdamConfig, TrainingConfig

import tensorflow as tf  # isort: skip

USERS, ITEMS, CLUSTERS = 200, 100, 4


def recipe(**training):
    """A recipe for the planted data: small towers, few epochs, a quick optimizer."""
    settings = {"epochs": 4, "batch_size": 256, "optimizer": LazyAdamConfig(learning_rate=0.01), **training}
    return Recipe(
        name="toy",
        model=ModelConfig(dim=16, query_encoder=MLP(widths=(32,), dropout=0.1), candidate_encoder=MLP(widths=(32,))),
        training=TrainingConfig(**settings),
        evaluation=EvaluationConfig(ks=(5, 10), bootstrap=200, baseline_seconds=0),  # tests/evaluation tunes them
    )


def planted(seed=0):
    """(frames of interactions, users, items as keyword arguments, the planted truth)."""
    source, truth = synthetic(users=USERS, items=ITEMS, clusters=CLUSTERS, events=40, noise=0.1, seed=seed)
    frame = next_table(source.interactions()).to_pandas()
    return {"interactions": frame, "users": source.users().to_pandas(), "items": source.items().to_pandas()}, truth


def next_table(batches):
    """All record batches as one table."""
    import pyarrow as pa

    return pa.Table.from_batches(list(batches))


def train(directory, **training):
    """A trained `Recommender` on the planted data."""
    frames, _ = planted()
    return Recommender(recipe(**training), directory=directory, **frames).fit(verbose=0)


class Steps(tf.keras.callbacks.Callback):
    """Counts the steps of a training: one that goes on takes those that are left, and no others."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


class _KillAfter(tf.keras.callbacks.Callback):
    """Kills this process after so many steps; None: never."""

    def __init__(self, steps):
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch, logs=None):
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def train_and_refit(directory, training, fit_steps=None, refit_steps=None):
    """The same, and a refit: the work of a process of its own, which is killed after so many steps of either."""
    frames, _ = planted()
    run = Recommender(recipe(**training), directory=directory, **frames)
    run.fit(verbose=0, callbacks=[_KillAfter(fit_steps)]).refit(verbose=0, callbacks=[_KillAfter(refit_steps)])


@contextlib.contextmanager
def two_signatures():
    """Exports have the signatures that the parity check asks. The others would take half of an export's time."""
    asked = (c.SERVING_DEFAULT, c.RECOMMEND_EXACT)
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules[export.__module__]
        patch.setattr(module, "signatures", lambda retriever: {name: signatures(retriever)[name] for name in asked})
        yield


def weights(recommender):
    """{path: array} of all that training learned."""
    model = recommender.assembly.model
    return {f"{i}:{v.name}": v.numpy() for i, v in enumerate(model.trainable_variables)}


def steps(folder):
    """The steps of the training whose best checkpoint is in a folder."""
    best = tf.train.load_checkpoint(os.path.join(folder, "best"))
    return int(best.get_tensor("model/optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"))


def same_weights(a, b):
    """True when two recommenders have equal weights, bit for bit."""
    a, b = weights(a), weights(b)
    return list(a) == list(b) and all(np.array_equal(a[k], b[k]) for k in a)


def with_index(recommender, **index):
    """The recommender with another index configuration, its index forgotten."""
    recommender.index(dataclasses.replace(recommender.recipe.index, **index))
    return recommender
