"""Statistics as fields: the prior of rates, by hand; and what a user did, from the history of a request."""

import numpy as np
import pytest

from tfrs_twotower import columns as c
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Id, ItemStatistic, Schema, UserStatistic, build_fields, infer_schema
from tfrs_twotower.features.fields.statistic import beta_prior

import tensorflow as tf  # isort: skip
import pyarrow as pa  # isort: skip

DAY = 86_400


def test_the_prior_finds_the_distribution_that_rates_are_drawn_from():
    rng = np.random.default_rng(0)
    among = rng.integers(1, 200, 20_000)
    events = rng.binomial(among, rng.beta(2.0, 18.0, 20_000))
    a, b = beta_prior(events.astype(float), among.astype(float))
    assert a == pytest.approx(2.0, rel=0.1) and b == pytest.approx(18.0, rel=0.1)


def test_a_prior_of_few_or_no_trials():
    assert beta_prior(np.zeros(3), np.zeros(3)) == (1.0, 1.0)
    a, b = beta_prior(np.array([1.0]), np.array([4.0]))  # nothing tells items apart: they are taken as alike
    assert a / (a + b) == pytest.approx(0.25) and a + b == pytest.approx(9_999)
    assert beta_prior(np.array([5.0, 0.0]), np.array([5.0, 5.0])) == pytest.approx((0.5, 0.5))  # never, or always


def test_a_rate_by_hand():
    field = ItemStatistic("rate", "buy", hours=(24,)).build(0)
    field.load_state({"mean": np.zeros(1), "deviation": np.ones(1), "prior": np.array([1.0, 3.0])})
    raw = tf.constant([[2.0, 4.0], [0.0, 0.0], [3.0, 1.0]])  # the last were bought without being shown
    found = field.encode({"item_rate_buy_per_shown": raw})["value"]
    np.testing.assert_allclose(found[:, 0], np.log([3 / 8, 1 / 4, 4 / 7]), rtol=1e-6)


def test_what_a_user_did_by_hand():
    schema = Schema((UserStatistic(length=3, hours=(24, 0)),), (Id(c.ITEM_ID),))
    (field,), (items,) = build_fields(schema)
    items.adapt({c.ITEM_ID: pa.array(["a", "b"])}, np.ones(2))
    now = 1_700_000_000
    raw = {
        c.HISTORY_ITEM_ID: tf.constant([["a", "b", "a", "x"], ["b", "", "", ""], ["", "", "", ""]]),
        c.HISTORY_TIMESTAMP: tf.constant([[now - 9 * DAY, now - 2 * DAY, now - DAY, now - 60], [now - 3 * DAY, 0, 0, 0],
                                          [0, 0, 0, 0]], tf.int64),
        c.TIMESTAMP: tf.constant([now] * 3, tf.int64),
    }
    expected = [
        [np.log(3), np.log(4), np.log1p(60 / DAY), 1],  # of the newest three, those of a day ago or later are two
        [0, np.log(2), np.log(4), 1],
        [0, 0, 0, 0],
    ]
    np.testing.assert_allclose(field.numbers(field.encode(raw)), expected, atol=1e-6)


def test_names_and_wrong_settings():
    assert ItemStatistic("rate", "add to cart", "view").column == "item_rate_add_to_cart_per_view"
    assert ItemStatistic("count", "").column == "item_count"
    with pytest.raises(ConfigError, match="another kind"):
        ItemStatistic("rate", "view", "view")
    with pytest.raises(ConfigError, match="hours"):
        ItemStatistic(hours=(-1,))
    with pytest.raises(ConfigError, match="item_count"):
        Schema((Id(c.USER_ID),), (Id(c.ITEM_ID), ItemStatistic())).validate([c.USER_ID], [c.ITEM_ID, "item_count"])


def test_a_derived_schema_keeps_the_history_beside_it():
    import toy

    from tfrs_twotower.data import Frames, ingest
    from tfrs_twotower.features import Derived, History

    frames, _ = toy.planted()
    log, _ = ingest(Frames(frames["interactions"]))
    schema = infer_schema(log, Derived(query=(UserStatistic(),), candidate=(ItemStatistic(),)))
    assert [type(f) for f in schema.query] == [UserStatistic, Id, History]
    assert [type(f) for f in schema.candidate] == [ItemStatistic, Id]
