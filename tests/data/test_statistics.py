"""Statistics of items before a moment: by hand, by counting one event after the other, and blind to the future."""

import numpy as np
import pandas as pd
import pytest

from tfrs_twotower.data import Frames, ingest
from tfrs_twotower.data.source import Columns
from tfrs_twotower.data.statistics import HOUR, SHOWN, Happenings, Spec, Statistic, happenings

HOURS = (1, 24, 0)
SPECS = [
    Spec("count", "", SHOWN, HOURS), Spec("count", "buy", SHOWN, HOURS), Spec("users", "view", SHOWN, HOURS),
    Spec("rate", "buy", "view", HOURS), Spec("rate", "buy", SHOWN, HOURS), Spec("recency", "", SHOWN, ()),
]


def _events(n=400, seed=1, items=5, users=4, hours=100):
    rng = np.random.default_rng(seed)
    return Happenings(
        rng.integers(items, size=n), rng.integers(users, size=n), 1000 + rng.integers(hours, size=n),
        rng.integers(3, size=n), np.ones(n, np.int64), ("view", "buy", SHOWN),
    )


def _slow(spec, e, item, hour):
    """The raw values of one item, event by event."""
    kinds = np.asarray(e.kinds)[e.kind]

    def rows(kind, window):
        of_kind = kinds != SHOWN if kind == "" else kinds == kind
        return np.flatnonzero(
            (e.item == item) & of_kind & (e.hour < hour) & ((e.hour >= hour - window) | (window == 0))
        )

    if spec.measure == "recency":
        past = e.hour[rows(spec.event, 0)]
        steps = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
        return [max(s for s in steps if s <= (hour - past.max() if len(past) else 0))]
    own = [rows(spec.event, window) for window in spec.hours]
    if spec.measure == "users":
        return [len(set(e.user[r])) for r in own]
    counts = [len(r) for r in own]
    if spec.measure == "count":
        return counts
    per = [len(rows(spec.per, window)) for window in spec.hours]
    return counts + ([a + b for a, b in zip(counts, per)] if spec.per == SHOWN else per)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.measure}-{spec.event}-{spec.per}")
def test_as_many_as_there_are_event_by_event(spec):
    events = _events()
    asked = [(item, hour) for item in (*range(5), -1, 9) for hour in (900, 1000, 1001, 1037, 1050, 1099, 1100, 1300)]
    found = Statistic.of(spec, events).values(*np.array(asked).T)
    assert found.dtype == np.float32 and found.shape == (len(asked), spec.width)
    np.testing.assert_array_equal(found, [_slow(spec, events, *one) for one in asked])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.measure}-{spec.event}-{spec.per}")
def test_what_happens_from_the_hour_on_changes_nothing(spec):
    events, hour, rng = _events(), 1050, np.random.default_rng(7)
    later = events.hour >= hour
    other = events._replace(
        item=np.where(later, rng.integers(5, size=400), events.item), kind=np.where(later, 1, events.kind),
        user=np.where(later, 0, events.user), hour=np.where(later, hour + rng.integers(900, size=400), events.hour),
    )
    asked = np.arange(5), np.full(5, hour)
    expected = Statistic.of(spec, events).values(*asked)
    assert expected.any()
    np.testing.assert_array_equal(Statistic.of(spec, other).values(*asked), expected)
    np.testing.assert_array_equal(Statistic.of(spec, events.take(~later)).values(*asked), expected)


def test_the_events_of_a_log_by_hand():
    start = 480_000 * HOUR
    frame = pd.DataFrame({
        "user_id": ["u", "v", "u", "u", "w"], "item_id": ["a", "a", "a", "b", "a"],
        "timestamp": [start, start + 10, start + 30 * HOUR, start + 30 * HOUR, start + 31 * HOUR],
        "kind": ["view", "view", "buy", "view", None], "label": [1, 1, 1, 1, 0],
    })
    log, _ = ingest(Frames(frame, columns=Columns(event="kind", label="label")))
    events, a = happenings(log), np.zeros(3, np.int64)
    hours = 480_000 + np.array([0, 1, 32])

    def values(*spec):
        return Statistic.of(Spec(*spec), events).values(a, hours).tolist()

    assert values("count", "view", SHOWN, (1, 24, 0)) == [[0, 0, 0], [2, 2, 2], [0, 0, 2]]
    assert values("users", "", SHOWN, (0,)) == [[0], [2], [2]]
    assert values("rate", "buy", SHOWN, (24,)) == [[0, 0], [0, 0], [1, 2]]  # w was shown a, and did not choose it
    assert values("recency", "", SHOWN, ()) == [[0], [1], [2]]
    hidden = happenings(log, np.array([False, True, True, True]))
    assert Statistic.of(Spec("count", "", SHOWN, (0,)), hidden).values(a, hours).tolist() == [[0], [1], [2]]


def test_nothing_happened():
    nothing = _events().take(np.zeros(0, np.int64))
    for spec in SPECS:
        assert not Statistic.of(spec, nothing).values(np.array([0, 3]), np.array([5, 7])).any()
