"""Two training steps of many kinds of systems, by one device and by two of one process: `python two_steps.py [NAME …]`.

Prints {name: [largest difference of a weight, largest change of a weight, loss of one, loss of two]} as JSON, of all
systems unless some are named. There is no dropout, whose masks are each device's own.
"""

import dataclasses
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import distributed  # noqa: E402
import numpy as np  # noqa: E402
import toy  # noqa: E402

from tfrs_twotower.data import Columns, Frames, ingest, synthetic  # noqa: E402
from tfrs_twotower.features import Augmented, Category, History, Id, Number, Schema, Sequence, Vector  # noqa: E402
from tfrs_twotower.losses import FullSoftmax, RefinedSampledSoftmax, TripletHinge  # noqa: E402
from tfrs_twotower.models import (  # noqa: E402
    CategoryAlignment,
    ContentAlignment,
    Distillation,
    EventHeads,
    FixedTemperature,
    LearnedTemperature,
    Mimic,
    ScheduledTemperature,
    SelfSupervision,
)
from tfrs_twotower.pipeline.assembling import assemble  # noqa: E402
from tfrs_twotower.recipe import Member, ModelConfig, Recipe  # noqa: E402
from tfrs_twotower.rerankers import COLD  # noqa: E402
from tfrs_twotower.sampling import CrossBatch, Hard, InBatch, Popular, Uniform  # noqa: E402
from tfrs_twotower.towers import HSTU, MIND, MLP, GRU4Rec, SASRec  # noqa: E402
from tfrs_twotower.training import LazyAdamConfig, RowWiseAdagradConfig, TrainingConfig  # noqa: E402
from tfrs_twotower.training.distribution import distributed as read  # noqa: E402
from tfrs_twotower.training.optimizers import build  # noqa: E402

import tensorflow as tf  # noqa: E402 # isort: skip

_DIM = 8
_CANDIDATE = (
    Id("item_id", dim=_DIM, dropout=0.0), Category("category", dim=4), Number("price", dim=4),
    Vector("picture", dim=_DIM), Augmented("item_id", dim=_DIM, dropout=0.0),
)
_HINGE = ModelConfig(
    dim=_DIM, query_encoder=MLP(widths=()), candidate_encoder=MLP(widths=()), loss=TripletHinge(margin=0.2),
    temperature=FixedTemperature(1.0), negatives=(Uniform(16),),
)


def _rows(query_encoder=MLP(widths=(16,)), past=History(length=5, dropout=0.0), **model):
    """A recipe of one positive a row; a batch of 45 rows, of which one device gets a row more."""
    query = (Id("user_id", dim=_DIM, dropout=0.0), past, Augmented("user_id", dim=_DIM, dropout=0.0))
    config = ModelConfig(dim=_DIM, query_encoder=query_encoder, candidate_encoder=MLP(widths=(16,)), **model)
    return Recipe(
        name="rows", schema=Schema(query=query, candidate=_CANDIDATE), model=config,
        training=TrainingConfig(batch_size=45),
    )


def _events(encoder, events=60, **model):
    """A recipe that learns from every event, about `events` of them in a batch."""
    schema = Schema(query=(Sequence(length=8),), candidate=_CANDIDATE[:3])
    config = ModelConfig(dim=_DIM, query_encoder=encoder, candidate_encoder=MLP(widths=()), **model)
    training = TrainingConfig(batch_size=events, known_positives=4)
    return Recipe(name="events", schema=schema, model=config, training=training)


def _rowwise():
    recipe = _rows()
    training = dataclasses.replace(recipe.training, optimizer=RowWiseAdagradConfig(weight_decay=0.01))
    return dataclasses.replace(recipe, training=training)


SYSTEMS = {
    "negatives": lambda: _rows(
        loss=RefinedSampledSoftmax(), temperature=LearnedTemperature(initial=0.1, low=0.05, high=0.5),
        negatives=(InBatch(), Uniform(16), Popular(16), CrossBatch(60), Hard(2, first=5, last=15)),
    ),
    "catalogue": lambda: _rows(loss=FullSoftmax(block=8)),
    "auxiliary": lambda: _rows(auxiliary=(
        Mimic(), CategoryAlignment("category"), ContentAlignment(items=16), SelfSupervision(items=16),
        Distillation(candidates=8, widths=(8,)),
    )),
    "event_heads": lambda: _rows(auxiliary=(EventHeads(("buy",)),)),
    "ensemble": lambda: dataclasses.replace(_rows(), model=_HINGE, ensemble=(
        Member(dataclasses.replace(_HINGE, negatives=(Uniform(16), Hard(2, first=5, last=15))), weight=0.5),
    )),
    "cold": lambda: _rows(reranker=COLD()),
    "mind": lambda: _rows(MIND(interests=2, hidden=MLP(widths=(8,))), Sequence(length=5)),
    "rowwise": _rowwise,
    "hstu": lambda: _events(
        HSTU(blocks=1, width=8, dropout=0.0), loss=FullSoftmax(block=8),
        temperature=ScheduledTemperature(start=0.05, end=0.1, steps=2),
    ),
    "sasrec": lambda: _events(SASRec(blocks=1, heads=1, dropout=0.0)),
    "gru4rec": lambda: _events(GRU4Rec(units=(8,), dropout=0.0)),
    "one_window": lambda: _events(HSTU(blocks=1, width=8, dropout=0.0), events=8, loss=FullSoftmax(block=8)),
    "one_window_sampled": lambda: _events(SASRec(blocks=1, heads=1, dropout=0.0), events=8),
    "one_window_gru": lambda: _events(GRU4Rec(units=(8,), dropout=0.0), events=8),
}


def log():
    """A small log of events of two kinds and unequal weights, and of items with a picture."""
    source, _ = synthetic(users=30, items=24, clusters=3, events=12, noise=0.1, seed=0)
    events, items = toy.next_table(source.interactions()).to_pandas(), source.items().to_pandas()
    places = np.arange(len(events))
    events = events.assign(weight=1.0 + places % 3, event=np.where(places % 2, "buy", "see"))
    pictures = np.random.default_rng(0).normal(size=(len(items), 6)).astype(np.float32)
    columns = Columns(event="event", weight="weight")
    return ingest(Frames(events, source.users(), items.assign(picture=list(pictures)), columns))[0]


def steps(recipe, log):
    """(weights before, weights after, loss) of the first two steps."""
    assembly = assemble(recipe, log)
    model, data = assembly.model, assembly.batches
    plain = isinstance(recipe.training.optimizer, LazyAdamConfig)  # Adam would hide a gradient of another size
    optimizer = tf.keras.optimizers.SGD(0.1) if plain else build(recipe.training.optimizer, 10)
    model.compile(optimizer=optimizer, run_eagerly=True)  # two steps take less time than their graph
    model.create_weights(next(iter(data.dataset(0, 1))))
    model.optimizer.build(model.trainable_variables)
    if getattr(model.objective, "hard", None) is not None:
        model.objective.refresh_hard()
    before = [v.numpy() for v in model.trainable_variables]
    history = model.fit(read(lambda context: data.dataset(0, 2, context)), steps_per_epoch=2, verbose=0)
    return before, [v.numpy() for v in model.trainable_variables], history.history["loss"][0]


def compare(name, log, strategy):
    """What `main` prints of a system."""
    recipe = SYSTEMS[name]()
    before, one, loss = steps(recipe, log)
    with strategy.scope():
        _, two, loss_of_two = steps(recipe, log)
    return [_largest(one, two), _largest(before, one), loss, loss_of_two]


def _largest(a, b):
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b))


def main(names):
    distributed.two_devices()
    strategy, events = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), log()
    print(json.dumps({name: compare(name, events, strategy) for name in names or SYSTEMS}))


if __name__ == "__main__":
    main(sys.argv[1:])
