"""Windows of the users' pasts: what is asked at every event, from training rows alone, in an order that resumes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import toy

from tfrs_twotower.data import Frames, LeaveLastOut, Temporal, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, Id, Schema, Sequence
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.models import SequenceTwoTower
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.sampling import StaticLogQ
from tfrs_twotower.towers import HSTU, MLP, GRU4Rec, SASRec, SearchThenAttend
from tfrs_twotower.training import LazyAdamConfig, TrainingConfig

import tensorflow as tf  # isort: skip

LENGTHS = {"a": 3, "b": 4, "c": 12, "d": 40}  # events of each user; the last two are held out


def frame():
    rows = [(user, f"{user}{i:02}", 1000 + 10 * i) for user, n in LENGTHS.items() for i in range(n)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def recipe(encoder=MLP(), features=(Sequence(length=8),), **training):
    return Recipe(
        name="toy", split=LeaveLastOut(), schema=Schema(query=features, candidate=(Id("item_id", dim=8),)),
        model=ModelConfig(dim=8, query_encoder=encoder, candidate_encoder=MLP(widths=()), loss=FullSoftmax()),
        training=TrainingConfig(**{"batch_size": 16, **training}),
    )


@pytest.fixture(scope="module")
def assembly():
    log, _ = ingest(Frames(frame()))
    return assemble(recipe(GRU4Rec(units=(8,))), log)


def epoch(a, number):
    n = a.batches.steps_per_epoch
    return [a.batches.batch(number * n + i) for i in range(n)]


def names(a, rows):
    return np.asarray(a.log.items["item_id"].to_pylist())[rows]


def test_what_follows_each_event_is_its_target(assembly):
    """Item names end in the place of their event: the target is one place on, in the same user's past.

    Behind these come first events, which follow from nothing.
    """
    for batch in epoch(assembly, 0):
        past = batch["past_id"]
        real = past >= 0
        assert (real[:, 1:] <= real[:, :-1]).all()  # padding at the end
        before, after = names(assembly, past[real]), names(assembly, batch["candidate_id"])
        after, firsts = np.split(after, [len(before)])
        assert {first[1:] for first in firsts} <= {"00"}
        assert [b[0] for b in before] == [t[0] for t in after]
        assert [int(b[1:]) + 1 for b in before] == [int(t[1:]) for t in after]
        assert batch["past"]["now"].tolist() == [
            1010 + 10 * int(names(assembly, row[mine])[-1][1:]) for row, mine in zip(past, real)
        ]


def test_an_epoch_shows_each_past_and_long_ones_in_windows(assembly):
    """b has 1 pair, c 9 and d 37: ⌈9 / 8⌉ + ⌈37 / 8⌉ windows of 8 and the newest event always; a has no pair.

    Each first event is shown once.
    """
    for number in range(3):
        shown = [name for batch in epoch(assembly, number) for name in names(assembly, batch["candidate_id"])]
        by_user = {user: sorted(name for name in shown if name[0] == user) for user in LENGTHS}
        assert by_user["a"] == ["a00"] and by_user["b"] == ["b00", "b01"]
        assert len(by_user["c"]) == 1 + 16 and len(by_user["d"]) == 1 + 40
        assert {"c09", "d37"} <= set(shown) and all(shown.count(f"{user}00") == 1 for user in LENGTHS)


def test_in_time_every_training_event_is_a_target_and_no_other_ever(assembly):
    shown = {name for number in range(60) for b in epoch(assembly, number)
             for name in [*names(assembly, b["candidate_id"]), *names(assembly, b["past_id"][b["past_id"] >= 0])]}
    train = set(names(assembly, assembly.log.item[assembly.split.train]))
    held = set(names(assembly, assembly.log.item)) - train
    assert len(held) == 8 and shown == train


RUNS = {"c": [["c00", "c01"], ["c02"], ["c03", "c04", "c05"], ["c06"]], "d": [["d00"], ["d01", "d02"]], "e": []}


@pytest.fixture(scope="module")
def merged():
    """Of each user, the runs above, and one more event that is held out with the one before it (`LeaveLastOut`)."""
    events = {user: [*(item for run in runs for item in run), *(f"{user}9{n}" for n in range(3))]
              for user, runs in RUNS.items()}
    shops = {item: f"{user}{n % 2}" for user, runs in RUNS.items() for n, run in enumerate(runs) for item in run}
    items = pd.DataFrame({"item_id": sum(events.values(), [])})
    items["shop"] = [shops.get(item, item) for item in items["item_id"]]
    rows = [(user, item, 1000 + 10 * n) for user, own in events.items() for n, item in enumerate(own)]
    log, _ = ingest(Frames(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), items=items))
    features = (Sequence(length=3, merge="shop", categories=("shop",)),)
    return assemble(recipe(HSTU(width=8), features), log)


def test_a_window_has_one_event_of_each_run_and_asks_for_the_next(merged):
    seen = set()
    for batch in (batch for number in range(40) for batch in epoch(merged, number)):
        times = batch["past"]["times"]
        followed = iter(names(merged, batch["candidate_id"]))
        for row, ids in enumerate(batch["past_id"]):
            window = names(merged, ids[ids >= 0]).tolist()
            runs = [run for run in RUNS[window[0][0]] if {*run} & {*window}]
            assert [len({*run} & {*window}) for run in runs] == [1] * len(window)
            assert runs == RUNS[window[0][0]][-len(runs):] or len(runs) == 3
            order = [item for own in RUNS.values() for run in own for item in run]
            for place, item in enumerate(window):
                target = next(followed)
                last = item == RUNS[item[0]][-1][-1]
                assert target == (f"{item[0]}90" if last else order[order.index(item) + 1])
                assert batch["past"]["asked"][row, place] == times[row, place] + 10
            seen |= {*window}
    assert seen == {item for own in RUNS.values() for run in own for item in run}  # in time, each of a run


def test_the_correction_knows_how_often_a_run_asks_for_each_item(merged):
    """An event is asked for where the one before it is drawn of its run."""
    counts = dict(zip(names(merged, slice(None)), merged.batches.shown_counts()))
    expected = {"c00": 1, "c01": 1 / 2, "c02": 1 / 2, "c03": 1, "c04": 1 / 3, "c05": 1 / 3, "c06": 1 / 3, "c90": 1,
                "d00": 1, "d01": 1, "d02": 1 / 2, "d90": 1 / 2, "e90": 1}
    assert {name: count for name, count in counts.items() if count} == pytest.approx(expected)
    sampled = dataclasses.replace(merged.recipe.model, loss=ModelConfig().loss, logq=StaticLogQ())
    logq = assemble(dataclasses.replace(merged.recipe, model=sampled), merged.log).model.objective.negatives.logq
    rows = tf.constant([[*counts].index(name) for name in ("c03", "c04")])
    once, third = logq.log_expected_count(rows, 16, False).numpy()
    assert once - third == pytest.approx(np.log((1 + 1) / (1 / 3 + 1)))


def test_a_window_of_the_newest_event_of_each_run_is_what_a_query_reads(merged):
    field, = merged.examples.past_fields
    row, = [r for r in merged.split.train if names(merged, merged.log.item[r]) == "c90"]
    asked = field(merged.examples.queries(np.array([row]))[field.name])
    batch, at = next((batch, at) for number in range(200) for batch in epoch(merged, number)
                     for at, ids in enumerate(batch["past_id"]) if [*names(merged, ids)] == ["c02", "c05", "c06"])
    sequence = field.encode_window(*(batch["past"][name][at:at + 1] for name in ("index", "times", "now")))
    tf.nest.map_structure(np.testing.assert_array_equal, field(sequence), asked)


def test_short_pasts_do_not_pay_for_long_ones(assembly):
    widths = {batch["past_id"].shape[1] for batch in epoch(assembly, 0)}
    assert widths == {1, 8}


def test_the_order_is_a_function_of_seed_and_step(assembly):
    again = assemble(assembly.recipe, assembly.log)
    steps = assembly.batches.steps_per_epoch * 2
    last = again.batches.batch(steps - 1)  # without the steps before it
    tf.nest.map_structure(np.testing.assert_array_equal, last, assembly.batches.batch(steps - 1))
    other = assemble(dataclasses.replace(assembly.recipe, training=TrainingConfig(batch_size=16, seed=1)), assembly.log)
    assert any(not np.array_equal(x["past_id"], y["past_id"]) for x, y in zip(epoch(assembly, 0), epoch(other, 0)))


def test_known_positives_are_what_came_before(assembly):
    a = assembly
    all_before = [[5, -1, -1], [6, 5, -1], [7, 6, 5]]
    for known, expected in ((0, [[], [], []]), (2, [[5, -1], [6, 5], [7, 6]]), (9, all_before)):
        model = SequenceTwoTower(a.model.query_tower, a.model.candidate_tower, a.model.objective, known_positives=known)
        found = model._known(tf.constant([[5, 6, 7, -1]])[:, :3])
        assert found.numpy().tolist() == expected


def test_a_history_beside_a_sequence_is_refused():
    log, _ = ingest(Frames(frame()))
    with pytest.raises(ConfigError, match="Leave that one out"):
        assemble(recipe(GRU4Rec(), (Sequence(length=8), History(length=4))), log)


@pytest.mark.parametrize("encoder", [
    GRU4Rec(units=(8,)), SASRec(blocks=1, heads=1), HSTU(blocks=1), SearchThenAttend(recent=2),
])
def test_users_of_one_event_teach_what_an_unknown_user_is_offered(encoder):
    """There is no window at all then, and of two devices one has none where a batch has one."""
    once = pd.DataFrame({"user_id": [f"u{i}" for i in range(40)], "item_id": "a", "timestamp": range(1, 41)})
    a = assemble(dataclasses.replace(recipe(encoder), split=Temporal()), ingest(Frames(once))[0])
    assert a.batches.steps_per_epoch == 2
    batches = list(a.batches.dataset(0, 2))
    assert [(b["candidate_id"].shape[0], b["past_id"].shape[0]) for b in batches] == [(16, 0), (16, 0)]
    with tf.GradientTape() as tape:
        loss = a.model.compute_loss(batches[0], training=True)
    start = a.model.query_tower.encoder._start.trainable_weights
    assert np.isfinite(loss) and np.isfinite(tape.gradient(loss, start)[0]).all()


def cycle(users=60, items=20, events=24, seed=0):
    """Each user walks round a circle of items from a place of their own: the next item follows from the last."""
    starts = np.random.default_rng(seed).integers(0, items, users)
    rows = [(f"u{u}", f"i{(first + i) % items:02}", 1000 * u + i)
            for u, first in enumerate(starts) for i in range(events)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.mark.parametrize("encoder", [GRU4Rec(units=(16,)), SASRec(blocks=1, heads=1), HSTU(blocks=1, width=16)])
def test_the_planted_next_item_is_found(encoder, tmp_path):
    made = recipe(
        encoder, (Sequence(length=16),), batch_size=64, epochs=8, known_positives=0, average=0.9,
        optimizer=LazyAdamConfig(learning_rate=0.01), patience=0,
    )
    evaluation = dataclasses.replace(made.evaluation, exclude_seen=False, bootstrap=0)
    made = dataclasses.replace(made, evaluation=evaluation)
    trained = Recommender(made, interactions=cycle(), directory=tmp_path / "run").fit(verbose=0)
    a = trained.assembly
    top = a.evaluate(a.split.test, a.model_scorer(a.split.test), bootstrap=0).top[:, 0]
    assert (a.catalogue[top] == a.split.test.targets.values).mean() > 0.9


class _Stop(tf.keras.callbacks.Callback):
    """Ends a training in the middle of its second epoch, some steps after its last checkpoint."""

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._epoch == 1 and batch == 5:
            raise KeyboardInterrupt


def kept(directory):
    """{name: array}: weights, their averages and the optimizer's slots in the last checkpoint."""
    reader = tf.train.load_checkpoint(str(directory / "checkpoint" / "last"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith(("model/", "average/", "optimizer/_var"))]
    return {n: reader.get_tensor(n) for n in names if not n.startswith("model/mean_loss")}  # that one is the process's


def test_averages_of_a_run_that_was_stopped_and_resumed_are_those_of_one_left_alone(tmp_path):
    made = recipe(
        HSTU(blocks=1, width=8, dropout=0.2), (Sequence(length=8),), batch_size=64, epochs=2, average=0.9,
        checkpoint_steps=4, patience=0, known_positives=0,
    )
    made = dataclasses.replace(made, evaluation=dataclasses.replace(made.evaluation, bootstrap=0))

    def training(name):
        return Recommender(made, interactions=cycle(users=30, events=18), directory=tmp_path / name)

    steps, left = toy.Steps(), toy.Steps()
    whole = training("whole").fit(verbose=0, callbacks=[steps])
    with pytest.raises(KeyboardInterrupt):
        training("stopped").fit(verbose=0, callbacks=[_Stop()])
    resumed = training("stopped").fit(verbose=0, callbacks=[left])
    assert 0 < left.count < steps.count // 2  # a part of the second epoch
    a, b = kept(tmp_path / "whole"), kept(tmp_path / "stopped")
    assert sorted(a) == sorted(b) and any(name.startswith("average/averages/0") for name in a)
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []
    assert toy.same_weights(whole, resumed)
