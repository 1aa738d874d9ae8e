import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.data import UserHistories, check_kinds, of_kinds
from tfrs_twotower.errors import DataError


def brute_force(log, row, length, visible):
    """The definition, one event at a time."""
    items = [
        (int(log.item[r]), int(log.timestamp[r]))
        for r in range(row) if log.user[r] == log.user[row] and visible[r]
    ][-length:]
    pad = length - len(items)
    return [i for i, _ in items] + [-1] * pad, [t for _, t in items] + [0] * pad


def test_by_hand(make_log):
    #               row: 0  1  2  3  4
    log = make_log([0, 1, 0, 0, 1], [5, 6, 7, 8, 9], [10, 10, 20, 30, 30])
    items, timestamps = UserHistories(log).before(np.array([3, 0, 4]), 3)
    assert items.tolist() == [[5, 7, -1], [-1, -1, -1], [6, -1, -1]]
    assert timestamps.tolist() == [[10, 20, 0], [0, 0, 0], [10, 0, 0]]
    assert items.dtype == np.int32 and timestamps.dtype == np.int64


def test_events_of_one_second_are_ordered_by_row(make_log):
    log = make_log([0, 0, 0], [3, 1, 2], [7, 7, 7])
    items, _ = UserHistories(log).before(np.array([0, 1, 2]), 2)
    assert items.tolist() == [[-1, -1], [3, -1], [3, 1]]


@pytest.mark.parametrize("length", [1, 4, 400])
@pytest.mark.parametrize("hidden", [0.0, 0.4, 1.0])
def test_against_the_definition(random_log, length, hidden):
    log = random_log()
    visible = np.random.default_rng(1).random(len(log)) >= hidden
    rows = np.random.default_rng(2).permutation(len(log))
    items, timestamps = UserHistories(log, visible).before(rows, length)
    for i, row in enumerate(rows):
        assert (items[i].tolist(), timestamps[i].tolist()) == brute_force(log, row, length, visible)


def test_no_event_at_or_after_a_row_changes_its_history(random_log):
    """The leak test: the future is replaced, the past must read the same."""
    log = random_log()
    row = 150
    past = log.timestamp[row]
    before = UserHistories(log).before(np.arange(row + 1), 20)
    item = log.item.copy()
    item[row:] = (item[row:] + 1) % len(log.items)
    timestamp = log.timestamp.copy()
    timestamp[row + 1:] += 1000
    changed = type(log)(log.user, item, timestamp, log.weight, log.context, log.users, log.items)
    after = UserHistories(changed).before(np.arange(row + 1), 20)
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[1], after[1])
    assert before[1].max() <= past


def test_latest_is_the_history_of_a_request_after_everything(make_log):
    log = make_log([0, 2, 0, 0], [5, 6, 7, 8], [10, 10, 20, 30])
    items, timestamps = UserHistories(log).latest([0, 1, 2], 2)
    assert items.tolist() == [[7, 8], [-1, -1], [6, -1]]
    assert timestamps.tolist() == [[20, 30], [0, 0], [10, 0]]


def test_arguments_are_checked(make_log):
    log = make_log([0], [0], [1])
    with pytest.raises(DataError, match="visible"):
        UserHistories(log, np.ones(1))
    with pytest.raises(DataError, match="length"):
        UserHistories(log).before(np.array([0]), 0)


def test_without_times_a_row_sees_the_users_other_items_once_and_never_its_own(make_log):
    log = make_log([0, 1, 0, 0, 0], [1, 4, 2, 1, 3], [0] * 5)  # user 0 has item 1 twice
    history = UserHistories(log)
    items, times = history.before(np.arange(5), 3)
    assert items.tolist() == [[2, 3, -1], [-1, -1, -1], [3, 1, -1], [2, 3, -1], [1, 2, -1]]
    assert not times.any()
    assert history.before(np.array([0, 2, 4]), 1)[0].tolist() == [[2], [3], [1]]  # rows differ in what they see
    assert history.latest([0, 1], 3)[0].tolist() == [[1, 2, 3], [4, -1, -1]]


def test_without_times_only_visible_events_are_shown(make_log):
    log = make_log([0, 0, 0, 0], [1, 2, 3, 1], [0] * 4)
    visible = np.array([True, True, False, True])
    assert UserHistories(log, visible).before(np.arange(4), 4)[0].tolist() == [
        [2, -1, -1, -1], [1, -1, -1, -1], [1, 2, -1, -1], [2, -1, -1, -1],
    ]
    assert (UserHistories(log, np.zeros(4, bool)).before(np.arange(4), 2)[0] == -1).all()


def test_kinds_are_told_apart_and_a_misspelt_one_is_named(make_log):
    kinds = pa.table({"event": ["buy", None, "view"]})
    log = dataclasses.replace(make_log([0, 0, 0], [0, 1, 2], [1, 2, 3]), context=kinds)
    assert of_kinds(log, ("buy", "")).tolist() == [True, True, False] and of_kinds(log, ()) is None
    assert of_kinds(log, ("like",)).tolist() == [False] * 3  # as of a few users
    check_kinds(log, ("buy", ""))
    with pytest.raises(DataError, match="kind `bye`, and the log has none.*Did you mean `buy`"):
        check_kinds(log, ("bye",))
