"""What an event weighs, how often it is shown and when: values by hand, and what training makes of them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import toy

from tfrs_twotower.configuration import from_dict, override, to_dict
from tfrs_twotower.data import Columns, Frames, ingest
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.features import Id, Schema, Sequence, infer_schema
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.sampling import StaticLogQ
from tfrs_twotower.towers import GRU4Rec
from tfrs_twotower.training import EventWeights, Resampling, event_weights, shown_counts
from tfrs_twotower.training.positives import Resampler

DAY = 86_400
COLUMNS = Columns(event="event", weight="weight", context=("seconds",), weight_scale="linear")


def events():
    return pd.DataFrame({
        "user_id": ["a"] * 5,
        "item_id": ["x", "y", "x", "z", "x"],
        "timestamp": 1_600_000_000 + DAY * np.array([0, 10, 20, 30, 40]),
        "event": ["click", "purchase", None, "click", "click"],
        "weight": [1.0, 1.0, 2.0, 1.0, 1.0],
        "seconds": [15.0, None, 120.0, 30.0, 60.0],
    })


def small_log():
    return ingest(Frames(events(), columns=COLUMNS))[0]


def test_weights_by_hand():
    log, train = small_log(), np.arange(4)
    assert event_weights(log, train, EventWeights()).tolist() == [1, 1, 2, 1, 1]
    kinds = EventWeights(kinds=(("click", 0.25), ("purchase", 3.0)))
    assert event_weights(log, train, kinds).tolist() == [0.25, 3, 2, 0.25, 0.25]
    assert event_weights(log, train, EventWeights(dwell="seconds")).tolist() == [0.25, 1, 2, 0.5, 1]
    # The newest training event is of day 30.
    assert event_weights(log, train, EventWeights(half_life_days=10.0)).tolist() == [0.125, 0.25, 1, 1, 1]
    both = EventWeights(kinds=(("click", 0.5),), dwell="seconds", full_dwell_seconds=30.0, half_life_days=30.0)
    expected = [0.5 * 0.5 * 0.5, 0.5 ** (2 / 3), 2 * 0.5 ** (1 / 3), 0.5, 0.5]
    np.testing.assert_allclose(event_weights(log, train, both), expected, rtol=1e-6)


def test_a_wrong_name_offers_the_nearest_and_no_weight_at_all_is_refused():
    log, train = small_log(), np.arange(4)
    with pytest.raises(ConfigError, match="Did you mean `purchase`"):
        event_weights(log, train, EventWeights(kinds=(("purchse", 2.0),)))
    with pytest.raises(ConfigError, match="Did you mean `seconds`"):
        event_weights(log, train, EventWeights(dwell="second"))
    without, _ = ingest(Frames(events()[["user_id", "item_id", "timestamp"]]))
    with pytest.raises(ConfigError, match="Declare it in the source's `columns`"):
        event_weights(without, train, EventWeights(kinds=(("click", 2.0),)))
    with pytest.raises(DataError, match="weighs 0"):
        event_weights(log, np.array([0, 3]), EventWeights(kinds=(("click", 0.0),)))


@pytest.mark.parametrize("wrong", [
    lambda: EventWeights(kinds=(("click", 1.0), ("click", 2.0))),
    lambda: EventWeights(kinds=(("click", -1.0),)),
    lambda: EventWeights(half_life_days=0.0),
    lambda: Resampling(pivot=0),
    lambda: Resampling(power=1.5),
    lambda: Resampling(least=0.5, most=0.9),
])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="must"):
        wrong()


def test_settings_are_read_back_and_overridden():
    training = toy.recipe(events=EventWeights(kinds=(("click", 0.5),)), resampling=Resampling(), order="time").training
    assert from_dict(to_dict(training)) == training
    changed = override(training, ["order=shuffled", 'events.kinds=[["buy", 2.0]]', "resampling=null"])
    assert (changed.order, changed.events.kinds, changed.resampling) == ("shuffled", (("buy", 2.0),), None)
    with pytest.raises(ConfigError, match="'shuffled' or 'time'"):
        override(training, ["order=tiem"])


def test_times_by_hand():
    items = np.repeat([0, 1, 2], [160, 10, 1])  # (10 / 160)^0.75 = 1/8; 10^0.75 = 5.62
    down = Resampling(pivot=10)
    assert [down.times(items)[i] for i in (0, 160, 170)] == [0.125, 1, 1]
    both = Resampling(pivot=10, most=4.0)
    assert [both.times(items)[i] for i in (0, 160, 170)] == [0.125, 1, 4]
    tail = Resampling(pivot=10, least=1.0, most=4.0)
    assert [tail.times(items)[i] for i in (0, 160, 170)] == [1, 1, 4]


def test_an_epoch_shows_each_event_as_often_as_it_should_and_always_as_many():
    times = np.concatenate([np.full(400, 0.125), np.full(20, 1.0), np.full(10, 2.5)])
    resampler = Resampler(times, seed=3)
    assert resampler.size == 50 + 20 + 25
    epochs = [resampler.draw(epoch) for epoch in range(400)]
    for rows in epochs:
        assert len(rows) == 95 and (np.diff(rows) >= 0).all()
        shown = np.bincount(rows, minlength=430)
        assert set(shown[:400]) <= {0, 1} and set(shown[400:420]) == {1} and set(shown[420:]) <= {2, 3}
    mean = np.mean([np.bincount(rows, minlength=430) for rows in epochs], axis=0)
    np.testing.assert_allclose(mean[:400], 0.125, atol=0.07)  # 4 deviations of a draw of 400
    np.testing.assert_allclose(mean[420:], 2.5, atol=0.1)
    again = Resampler(times, seed=3)
    assert all((again.draw(epoch) == epochs[epoch]).all() for epoch in (7, 0))
    assert (Resampler(times, seed=4).draw(0) != epochs[0]).any() and (epochs[0] != epochs[1]).any()


def _assembly(**training):
    frames, _ = toy.planted()
    log, _ = ingest(Frames(**frames))
    recipe = toy.recipe(**training)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, logq=StaticLogQ()))
    return assemble(recipe, log)


def test_in_time_order_batches_follow_the_log_and_the_newest_events_are_there():
    a = _assembly(order="time", shuffle_buffer=512, batch_size=256)
    steps = a.batches.steps_per_epoch
    rows = a.split.train[len(a.split.train) - steps * 256:]
    found = [a.batches.batch(step)["candidate_id"] for step in range(2 * steps)]
    for i in range(0, steps - 1, 2):  # a window is two batches, shuffled between them
        window = np.concatenate(found[i: i + 2])
        expected = a.log.item[rows[i * 256: (i + 2) * 256]]
        assert sorted(window) == sorted(expected) and (window != expected).any()
    assert any((found[i] != found[steps + i]).any() for i in range(steps))  # another epoch, another shuffle
    exact = _assembly(order="time", shuffle_buffer=1, batch_size=256).batches
    np.testing.assert_array_equal(exact.batch(steps - 1)["candidate_id"], a.log.item[a.split.train[-256:]])


def test_resampled_batches_are_a_function_of_the_step_and_logq_knows_what_is_shown():
    resampling = Resampling(pivot=20, most=3.0)
    a, b = (_assembly(resampling=resampling, batch_size=128) for _ in range(2))
    steps = a.batches.steps_per_epoch
    shown = shown_counts(a.log, a.split.train, resampling)
    counts = a.log.item_counts(a.split.train)
    some = counts > 0
    np.testing.assert_allclose(shown[some], counts[some] * np.clip((20 / counts[some]) ** 0.75, 0, 3))
    assert steps == int(shown.sum()) // 128
    late = a.batches.batch(steps + 3)  # without the steps before it
    for step in range(steps + 4):
        early = b.batches.batch(step)
    np.testing.assert_array_equal(early["candidate_id"], late["candidate_id"])
    seen = sum(np.bincount(a.batches.batch(s)["candidate_id"], minlength=len(counts)) for s in range(20 * steps)) / 20
    np.testing.assert_allclose(seen, shown, atol=3.0)
    expected = np.log((shown + 1) / (shown + 1).sum())
    log_p = a.model.objective.negatives.logq.log_expected_count(tf.range(len(counts)), 1, False)
    np.testing.assert_allclose(log_p, expected, rtol=1e-5)


def test_a_column_known_after_the_event_is_no_feature():
    def names(outcomes):
        return [f.name for f in infer_schema(small_log(), outcomes=outcomes).query]

    assert "normalise_seconds" in names(()) and "normalise_seconds" not in names(("seconds",))


def test_events_that_weigh_little_do_not_lead_the_model_astray(tmp_path):
    """Each user views as much of another cluster as they buy of their own; a view weighs a hundredth."""
    frames, truth = toy.planted()
    bought = frames["interactions"].assign(event="purchase")
    other = (truth.item_cluster[:, None] == (truth.user_cluster[None] + 1) % toy.CLUSTERS).T
    rng = np.random.default_rng(0)
    viewed = bought.assign(event="view", item_id=[
        f"i{rng.choice(np.flatnonzero(other[int(user[1:])]))}" for user in bought["user_id"]
    ])
    recipe = toy.recipe(events=EventWeights(kinds=(("view", 0.01),)), epochs=3)
    run = Recommender(recipe, pd.concat([bought, viewed]), frames["users"], frames["items"],
                      columns=Columns(event="event"), directory=tmp_path).fit(verbose=0)
    found = run.recommend([f"u{u}" for u in range(40)], k=5, exclude_seen=False)
    item = truth.item_cluster[found["item_id"].str[1:].astype(int)]
    user = truth.user_cluster[found["user_id"].str[1:].astype(int)]
    assert (item == user).mean() > 0.75 > 0.2 > (item == (user + 1) % toy.CLUSTERS).mean()


def test_a_sequence_model_refuses_what_orders_or_repeats_single_events():
    frames, _ = toy.planted()
    log, _ = ingest(Frames(**frames))
    schema = Schema(query=(Sequence(length=8),), candidate=(Id("item_id", dim=8),))
    for training in ({"order": "time"}, {"resampling": Resampling()}):
        recipe = toy.recipe(**training)
        model = dataclasses.replace(recipe.model, query_encoder=GRU4Rec(units=(8,)))
        with pytest.raises(ConfigError, match="a sequence model learns from histories"):
            assemble(dataclasses.replace(recipe, model=model, schema=schema), log)
