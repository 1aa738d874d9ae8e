import dataclasses

import numpy as np
import pytest

from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data import LeaveLastOut, Newest, RandomHoldout, RandomPerUser, Temporal, UserHeldOut
from tfrs_twotower.errors import ConfigError, DataError, NothingNew

STRATEGIES = [
    Temporal(), Temporal(targets="last"), Temporal(targets="each"), LeaveLastOut(), UserHeldOut(0.2, 0.2),
    RandomHoldout(validation=0.1),
]
ALL = [*STRATEGIES, RandomPerUser()]


def asked(queries):
    """{user: (timestamp, row, targets, seen)}"""
    return {
        int(queries.user[i]): (
            int(queries.timestamp[i]), int(queries.row[i]),
            queries.targets.row(i).tolist(), queries.seen.row(i).tolist(),
        )
        for i in range(len(queries))
    }


@pytest.fixture
def ten(make_log):
    """Ten events of three users; the second cut, at row 8, is tied in time with row 7."""
    #     row: 0  1  2  3  4  5  6  7  8  9
    user = [0, 1, 0, 2, 0, 1, 0, 1, 0, 0]
    item = [5, 6, 5, 7, 8, 6, 9, 5, 5, 9]
    time = [1, 2, 3, 4, 5, 6, 7, 8, 8, 9]
    return make_log(user, item, time)


def test_temporal_by_hand(ten):
    split = Temporal(validation=0.2, test=0.2).split(ten)
    # The test cut falls in row 8; row 7 has the same second and goes with it.
    assert split.train.tolist() == [0, 1, 2, 3, 4, 5]
    assert asked(split.validation) == {0: (7, 6, [9], [5, 8])}
    assert asked(split.test) == {0: (8, 8, [5, 9], [5, 8, 9]), 1: (8, 7, [5], [6])}


def test_temporal_last_and_each_by_hand(ten):
    last = Temporal(0.2, 0.2, targets="last").split(ten).test
    assert asked(last) == {0: (9, 9, [9], [5, 8, 9]), 1: (8, 7, [5], [6])}
    each = Temporal(0.2, 0.2, targets="each").split(ten).test
    assert each.row.tolist() == [7, 8, 9]
    assert [each.targets.row(i).tolist() for i in range(3)] == [[5], [5], [9]]
    assert [each.seen.row(i).tolist() for i in range(3)] == [[6], [5, 8, 9], [5, 8, 9]]


def test_leave_last_out_by_hand(ten):
    split = LeaveLastOut().split(ten)
    # User 2 has one event, which trains.
    assert split.train.tolist() == [0, 1, 2, 3, 4, 6]
    assert asked(split.validation) == {0: (8, 8, [5], [5, 8, 9]), 1: (6, 5, [6], [6])}
    assert asked(split.test) == {0: (9, 9, [9], [5, 8, 9]), 1: (8, 7, [5], [6])}


def test_user_held_out_by_hand(ten):
    split = UserHeldOut(validation=0.0, test=0.5, known=0.7).split(ten, seed=0)
    # Of the users 0 and 1 (user 2 has one event) one is held out. Known: 4 of 6 events, 2 of 3.
    queries = asked(split.test)
    assert len(queries) == 1
    (user,) = queries
    assert queries[user] == {0: (8, 8, [5, 9], [5, 8, 9]), 1: (8, 7, [5], [6])}[user]
    assert sorted(set(ten.user[split.train].tolist())) == [u for u in (0, 1, 2) if u != user]
    assert len(split.train) == np.sum(ten.user != user)


def test_random_holdout_parts_and_seen(random_log):
    log = random_log()
    split = RandomHoldout(validation=0.1, test=0.2).split(log, seed=3)
    assert len(split.test) == 60 and len(split.validation) == 30
    together = np.concatenate([split.train, split.validation.row, split.test.row])
    assert np.array_equal(np.sort(together), np.arange(len(log)))
    assert split.test.targets.values.tolist() == log.item[split.test.row].tolist()
    for i in range(len(split.test)):
        mine = split.train[log.user[split.train] == split.test.user[i]]
        assert split.test.seen.row(i).tolist() == list(dict.fromkeys(log.item[mine].tolist()))


@pytest.mark.parametrize("strategy", [Temporal(), Temporal(targets="last"), Temporal(targets="each")])
@pytest.mark.parametrize("seed", range(4))
def test_no_training_event_is_at_or_after_a_cut(random_log, strategy, seed):
    log = random_log(seed=seed)
    split = strategy.split(log)
    last = log.timestamp[split.train].max()
    assert last < split.validation.timestamp.min()
    assert split.validation.timestamp.max() < split.test.timestamp.min()
    # Nothing before the validation window is left out.
    first_asked = np.searchsorted(log.timestamp, split.validation.timestamp.min())
    assert len(split.train) <= first_asked


@pytest.mark.parametrize("strategy", ALL, ids=str)
def test_targets_come_from_events_that_do_not_train(random_log, strategy):
    log = random_log()
    split = strategy.split(log, seed=1)
    train = np.zeros(len(log), bool)
    train[split.train] = True
    assert np.all(np.diff(split.train) > 0)
    for queries in (split.validation, split.test):
        assert not train[queries.row].any()
        assert np.array_equal(queries.user, log.user[queries.row])
        assert np.array_equal(queries.timestamp, log.timestamp[queries.row])
        assert queries.targets.lengths.min() >= 1
        for i in range(len(queries)):
            held = (log.user == queries.user[i]) & ~train & (np.arange(len(log)) >= queries.row[i])
            assert set(queries.targets.row(i).tolist()) <= set(log.item[held].tolist())
            assert len(set(queries.seen.row(i).tolist())) == len(queries.seen.row(i))


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if not isinstance(s, RandomHoldout)], ids=str)
def test_seen_is_what_the_user_met_before_the_request(random_log, strategy):
    log = random_log()
    for queries in (strategy.split(log).validation, strategy.split(log).test):
        for i in range(len(queries)):
            mine = np.flatnonzero(log.user[:queries.row[i]] == queries.user[i])
            assert queries.seen.row(i).tolist() == list(dict.fromkeys(log.item[mine].tolist()))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_shuffling_the_test_items_leaves_training_as_it_was(random_log, strategy):
    log = random_log()
    split = strategy.split(log, seed=2)
    item = log.item.copy()
    held = np.setdiff1d(np.arange(len(log)), split.train)
    item[held] = np.random.default_rng(0).permutation(item[held])
    changed = type(log)(log.user, item, log.timestamp, log.weight, log.context, log.users, log.items)
    again = strategy.split(changed, seed=2).train
    assert np.array_equal(again, split.train)
    assert np.array_equal(changed.item_counts(again), log.item_counts(split.train))


def test_held_out_users_train_with_nothing(random_log):
    log = random_log()
    split = UserHeldOut(0.25, 0.25).split(log, seed=5)
    held = set(split.validation.user.tolist()) | set(split.test.user.tolist())
    assert len(held) == len(split.validation) + len(split.test) == 6
    assert not held & set(log.user[split.train].tolist())


def test_a_seed_repeats_a_draw(random_log):
    log = random_log()
    for strategy in (UserHeldOut(0.25, 0.25), RandomHoldout(), RandomPerUser()):
        assert strategy.split(log, 1).test.row.tolist() == strategy.split(log, 1).test.row.tolist()
        assert strategy.split(log, 1).test.row.tolist() != strategy.split(log, 2).test.row.tolist()


def test_too_small_a_log_is_a_clear_error(make_log):
    one_second = make_log([0, 0, 1], [0, 1, 2], [5, 5, 5])
    with pytest.raises(DataError, match="too small to split.*nothing for `train`"):
        Temporal().split(one_second)
    with pytest.raises(DataError, match="too small"):
        LeaveLastOut().split(make_log([0, 0, 1], [0, 1, 2], [1, 2, 3]))
    with pytest.raises(DataError, match="too small"):
        UserHeldOut().split(make_log([0, 1, 2], [0, 1, 2], [1, 2, 3]))
    for strategy in ALL:
        with pytest.raises(DataError, match="no events"):
            strategy.split(make_log([], [], []))


@pytest.mark.parametrize(("strategy", "fractions"), [
    (Temporal, (0.5, 0.5)), (Temporal, (-0.1, 0.1)), (RandomHoldout, (0, 0)), (UserHeldOut, (0, 1)),
    (Temporal, (float("nan"), 0.1)),
])
def test_wrong_fractions_are_errors(strategy, fractions):
    with pytest.raises(ConfigError, match=f"of {strategy.__name__} must be fractions"):
        strategy(*fractions)


def test_other_wrong_settings_are_errors():
    with pytest.raises(ConfigError, match="`Temporal.targets` must be 'all' or 'last' or 'each'"):
        Temporal(targets="first")
    for known in (0, 1):
        with pytest.raises(ConfigError, match="`UserHeldOut.known` must be a finite number above 0 and below 1"):
            UserHeldOut(known=known)


def test_no_validation_is_allowed(ten):
    split = Temporal(validation=0, test=0.2).split(ten)
    assert len(split.validation) == 0 and len(split.train) == 7


@pytest.mark.parametrize("strategy", ALL, ids=str)
def test_a_strategy_survives_json(strategy):
    assert from_dict(to_dict(strategy)) == strategy


def test_newest_trains_on_what_came_since_and_asks_of_the_last_share(ten):
    # Rows 4 to 9 are new; the last third begins in row 8, whose second row 7 shares.
    split = Newest(since=5, held_out=0.34).split(ten)
    assert split.past.tolist() == [0, 1, 2, 3]
    assert split.train.tolist() == [4, 5, 6]
    assert split.known.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert asked(split.test) == {0: (8, 8, [5, 9], [5, 8, 9]), 1: (8, 7, [5], [6])}
    assert split.validation is split.test


def test_what_came_late_trains_and_does_not_judge(ten):
    log = dataclasses.replace(ten, part=np.isin(np.arange(10), [1, 3, 4, 5, 6, 7, 8, 9]).astype(np.uint16))
    late, usual = (Newest(since=5, held_out=0.34, part=part).split(log) for part in (1, None))
    assert late.train.tolist() == [1, 3, 4, 5, 6] and late.past.tolist() == [0, 2]
    assert late.known.tolist() == usual.known.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert asked(late.test) == asked(usual.test)
    with pytest.raises(DataError, match="leaves nothing for `train`"):
        Newest(since=9, part=1).split(log)  # row 9 evaluates, and what came late alone does not train


def test_newest_without_new_events_is_an_error(ten):
    with pytest.raises(NothingNew, match="Name the new events"):
        Newest(int(ten.timestamp[-1]) + 1).split(ten)


def test_what_the_log_has_already_is_not_learned_twice(make_log):
    #          row: 0  1  2  3  4  5  6  7
    log = make_log([0, 1, 1, 0, 0, 0, 1, 0], [5, 6, 6, 7, 7, 9, 5, 8], [1, 2, 2, 8, 8, 9, 10, 11])
    part = np.array([0, 0, 1, 0, 1, 1, 1, 1], np.uint16)  # rows 2 and 4 are rows 1 and 3 once more
    log = dataclasses.replace(log, part=part)
    assert np.flatnonzero(log.new_in(1)).tolist() == [5, 6, 7] and np.flatnonzero(log.again).tolist() == [2, 4]
    split = Newest(since=5, held_out=0.3, part=1).split(log)
    assert (split.past.tolist(), split.train.tolist(), split.test.row.tolist()) == ([0, 1], [3, 5, 6], [7])
    whole = split.whole(len(log))  # a refit's
    assert (whole.past.tolist(), whole.train.tolist()) == ([0, 1], [3, 5, 6, 7])
    with pytest.raises(NothingNew, match="no new event that is a like"):
        Newest(since=5, part=1).split(dataclasses.replace(log, part=np.zeros(8, np.uint16)))
    known = dataclasses.replace(log, part=np.array([0, 0, 1, 0, 1, 0, 0, 0], np.uint16))
    with pytest.raises(NothingNew, match="The log has all of the 2 new events already"):
        Newest(since=5, part=1).split(known)


def test_random_items_of_each_user_are_one_query_and_stand_on_one_side(random_log):
    log = random_log(events=400)
    split = RandomPerUser(validation=0.2, test=0.3).split(log, seed=3)
    of = [{(int(log.user[r]), int(log.item[r])) for r in split.train}]
    for queries in (split.validation, split.test):
        assert len(set(queries.user.tolist())) == len(queries)
        of.append({(int(u), int(i)) for n, u in enumerate(queries.user) for i in queries.targets.row(n)})
        seen = {(int(u), int(i)) for n, u in enumerate(queries.user) for i in queries.seen.row(n)}
        users = set(queries.user.tolist())
        assert seen == {pair for part in of[:-1] for pair in part if pair[0] in users}
    pairs = set(zip(log.user.tolist(), log.item.tolist()))
    assert set.union(*of) == pairs and sum(map(len, of)) == len(pairs)
    free = len(pairs) - len(log.users)  # one item of each user always trains
    assert [len(part) for part in of[1:]] == [round(0.3 * free) + round(0.2 * free) - round(0.3 * free),
                                              round(0.3 * free)]
    assert {user for user, _ in of[0]} == set(range(len(log.users)))


@pytest.mark.parametrize(("strategy", "past"), [
    (Temporal(0.2, 0.2), None), (LeaveLastOut(), None), (UserHeldOut(0.0, 0.5), None), (RandomHoldout(), None),
    (Newest(since=5, held_out=0.34), [0, 1, 2, 3]),
], ids=str)
def test_a_refit_trains_on_all_but_the_past_and_asks_nothing(ten, strategy, past):
    split = strategy.split(ten)
    whole = split.whole(len(ten))
    assert whole.train.tolist() == [row for row in range(10) if row not in (past or ())]
    assert whole.known.tolist() == list(range(10)) and len(split.known) < 10
    assert whole.past is split.past and (past is None or whole.past.tolist() == past)
    assert len(whole.validation) == len(whole.test) == 0
