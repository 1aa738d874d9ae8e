"""What every `HistoryStore` has to do."""

import itertools
import random
import threading

import pytest

from tfrs_twotower.online import Event, Retention, SqliteFile, SqliteHistoryStore, redis_stores, sqlite

NOW, DAY = 1_700_000_000, 86_400


class Clock:
    """A clock that stands until it is set."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request, tmp_path, clock):
    """open_store(**retention): a store on the same data each time; all are closed at the end."""
    opened = []

    def open_store(**retention):
        if request.param == "sqlite":
            store = SqliteHistoryStore(SqliteFile(tmp_path / "store.db"), Retention(**retention), clock)
        else:
            store = redis_stores.RedisHistoryStore(request.getfixturevalue("redis").url, Retention(**retention), clock)
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


def event(event_id, timestamp=NOW, user="u", item=None, kind=""):
    return Event(str(event_id), user, item or f"i{event_id}", timestamp, kind)


def ids(store, user="u", n=100, types=()):
    return [e.event_id for e in store.last([user], n, types)[0]]


def test_items_are_those_of_all_kept_events_with_their_newest_kind(open_store):
    store = open_store(events=4)
    store.append([event(1, NOW, item="a", kind="like"), event(2, NOW + 1, item="b"), event(3, NOW + 3, item="c"),
                  event(4, NOW + 2, item="a", kind="dislike"), event(5, NOW + 4)._replace(item_id="", query="words")])
    store.append([event(6, NOW, "v", "b", "buy")])
    found = store.items(["u", "nobody", "v"])
    assert found == [{"c": "", "a": "dislike", "b": ""}, {}, {"b": "buy"}] and [*found[0]] == ["c", "a", "b"]


def test_all_events_of_a_time_are_read(store, monkeypatch):
    monkeypatch.setattr(sqlite, "_PAGE", 2)
    events = [event(n, NOW + n, user=f"u{n % 3}") for n in range(9)]
    store.append(events)
    found = [e for page in store.events(NOW + 2, NOW + 8) for e in page]
    assert sorted(found) == events[2:8]
    assert list(store.events(NOW + 9, NOW + 99)) in ([], [[]])


def test_what_was_appended_comes_back_as_it_was(store):
    events = [event(1, kind="view"), event(2, item="né人 {}\"\\'%")]
    assert store.append(events) == 2
    assert store.last(["u"], 10) == [events]


def test_every_field_of_an_event_comes_back(store):
    events = [
        event(1, kind="click")._replace(answer="a1", place=0, dwell=2.5, value=-0.1, query="red \"schuhe\" né"),
        event(2, kind="buy")._replace(value=1e300),
        event(3, kind="search")._replace(item_id="", query="shoes"),
        event(4)._replace(dwell=0.0),
        event(5)._replace(place=2**31 - 1),
    ]
    store.append(events)
    assert store.last(["u"], 10) == [events]


def test_times_out_of_order_are_put_in_order_and_ties_stay_as_they_came(store):
    store.append([event("c", NOW), event("a", NOW - 2), event("d", NOW)])
    store.append([event("b", NOW - 1), event("A", NOW)])
    assert ids(store) == ["a", "b", "c", "d", "A"]


def test_more_than_ten_equal_times_stay_as_they_came(store):
    names = [str(n) for n in range(25)]
    for name in names:
        store.append([event(name)])
    assert ids(store) == names


def test_an_id_counts_once_and_the_first_one_stays(store):
    assert store.append([event(1, item="first"), event(1, item="second")]) == 1
    assert store.append([event(1, item="third"), event(2)]) == 1
    assert [e.item_id for e in store.last(["u"], 10)[0]] == ["first", "i2"]
    assert store.append([event(1, user="v")]) == 1  # an id names an event among its user's


def test_the_newest_n_oldest_first(store):
    store.append([event(n, NOW + n) for n in range(10)])
    assert ids(store, n=3) == ["7", "8", "9"]


def test_many_users_at_once_and_unknown_ones(store):
    store.append([event(1, user="a"), event(2, user="b"), event(3, user="a")])
    found = store.last(["b", "nobody", "a", "a", ""], 5)
    assert [[e.event_id for e in events] for events in found] == [["2"], [], ["1", "3"], ["1", "3"], []]
    assert store.last([], 5) == [] and store.append([]) == 0


def test_types_choose(store):
    store.append([event(n, NOW + n, kind="buy" if n % 5 == 0 else "view") for n in range(30)])
    assert ids(store, n=3, types=["buy"]) == ["15", "20", "25"]
    assert ids(store, n=2, types=["buy", "view"]) == ["28", "29"]
    assert ids(store, types=["none"]) == []


def test_the_newest_events_are_kept(open_store):
    store = open_store(events=3)
    store.append([event(n, NOW + n) for n in range(5)])
    store.append([event("late", NOW)])
    assert ids(store) == ["2", "3", "4"]
    assert open_store(events=100).last(["u"], 100) == store.last(["u"], 100)  # the others are gone, not hidden


def test_old_events_are_not_shown_and_trim_removes_them(open_store, clock):
    store = open_store(seconds=100)
    store.append([event(1, NOW - 100), event(2, NOW - 50), event(3, NOW), event(4, NOW - 101)])
    assert ids(store) == ["1", "2", "3"]
    clock.now += 60
    assert ids(store) == ["3"] and ids(store, types=[""]) == ["3"]
    assert store.trim() == 3
    assert store.trim() == 0
    clock.now -= 60
    assert ids(store) == ["3"]


@pytest.mark.parametrize("jump", [40, 400, 40_000])  # days
def test_a_clock_that_jumped_forward_removes_nothing(open_store, clock, caplog, jump):
    """99 events of the last 30 days, which is the retention; then the clock jumps, and stamps one more."""
    store = open_store(seconds=30 * DAY)
    store.append([event(n, NOW - n * DAY * 30 // 100, user=f"u{n % 3}") for n in range(99)])
    clock.now += jump * DAY
    assert store.trim() == 0 and "the clock may have jumped forward" in caplog.text
    store.append([event("jumped", clock.now, user="u0")])
    assert store.trim() == 0
    assert ids(store, "u0") == ["jumped"]  # what is too old by the clock is not shown
    clock.now = NOW
    assert sum(len(ids(store, f"u{n}")) for n in range(3)) == 100
    assert store.trim() == 0


def test_a_clock_that_is_a_little_ahead_removes_no_event_much_too_early(open_store, clock):
    store = open_store(seconds=30 * DAY)
    store.append([event(n, NOW - n * DAY) for n in range(31)])
    clock.now += 2 * DAY
    assert store.trim() == 2  # of 29 and 30 days; a tenth of 30 days vouches for the clock
    clock.now += 2 * DAY
    assert store.trim() == 0


def test_new_events_vouch_for_the_clock_after_a_long_pause(open_store, clock):
    store = open_store(seconds=30 * DAY)
    store.append([event(n) for n in range(300)])
    clock.now += 60 * DAY
    store.append([event(f"new{n}", clock.now, user="v") for n in range(3)])
    assert store.trim() == 0  # 3 of 303 are no more than 1%
    store.append([event("one more", clock.now, user="v")])
    assert store.trim() == 300
    assert ids(store) == [] and len(ids(store, "v")) == 4


def test_an_event_of_the_far_future_pushes_out_one_other(open_store):
    store = open_store(events=3, seconds=30 * DAY)
    store.append([event(n, NOW + n) for n in range(3)])
    store.append([event("far", NOW + 10_000 * DAY)])
    assert ids(store) == ["1", "2", "far"]
    assert store.trim() == 0


def test_trim_goes_over_all_users(open_store, monkeypatch):
    for engine, least in ((sqlite, "_AT_ONCE"), (redis_stores, "_USERS")):
        monkeypatch.setattr(engine, least, 3)  # fewer than there are users
    open_store().append([event(n, NOW + n, user=f"user{n % 7}") for n in range(70)])
    store = open_store(events=4)
    assert store.trim() == 70 - 7 * 4
    assert ids(store, "user0") == ["42", "49", "56", "63"]


def test_another_opening_finds_it_all(open_store):
    open_store().append([event(1), event(2)])
    second = open_store()
    assert second.append([event(2), event(3)]) == 1
    assert ids(second) == ["1", "2", "3"]


def test_threads_append_the_same_events_and_each_counts_once(open_store):
    stores = [open_store(), open_store()]
    added = []

    def work(seed):
        order = list(range(40))
        random.Random(seed).shuffle(order)
        for n in order:
            added.append(stores[seed % 2].append([event(n, NOW + n), event(n, NOW + n, user=f"v{n % 3}")]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(added) == 80
    assert ids(stores[0]) == [str(n) for n in range(40)]


def test_older_events_of_kept_kinds_stay(open_store):
    store = open_store(events=3, kinds=("buy", "like"))
    kinds = ["buy", "like", "view", "buy", "view", "buy", "buy", "view", "buy", "view", "view", "buy"]
    for n, kind in enumerate(kinds):
        store.append([event(n, NOW + n, kind=kind)])
    assert ids(store) == ["1", "5", "6", "8", "9", "10", "11"]  # the newest 3; of the older ones 3 buys and the like
    assert ids(store, n=4, types=["buy"]) == ["5", "6", "8", "11"]
    assert store.append([event(0, kind="buy")]) == 1  # its id is free again
    assert open_store(events=3).trim() == 4 and ids(store) == ["9", "10", "11"]


@pytest.mark.parametrize("seed, kinds", [(0, ()), (1, ()), (2, ()), (3, ("buy",)), (4, ("buy", "like"))])
def test_random_appends_equal_a_plain_list(open_store, clock, seed, kinds):
    """Against the contract written as a list: unique ids, stable order by time, within 50 seconds the newest 8, or the
    newest 3 and of older ones the newest 3 of each kept kind."""
    rng, most = random.Random(seed), 3 if kinds else 8
    store, plain = open_store(events=most, seconds=50, kinds=kinds), {}
    for _ in range(60):
        batch = [
            event(rng.randrange(200), clock.now - rng.randrange(60), f"u{rng.randrange(3)}", f"i{rng.randrange(9)}",
                  rng.choice(["", "buy", *kinds[1:]]))
            for _ in range(rng.randrange(4))
        ]
        store.append(batch)
        for user, new in itertools.groupby(sorted(batch, key=lambda e: e.user_id), key=lambda e: e.user_id):
            kept = plain.setdefault(user, [])
            for e in new:
                if e.event_id not in {k.event_id for k in kept}:
                    kept.append(e)
            kept.sort(key=lambda e: e.timestamp)
            older = {kind: [e for e in kept[:-most] if e.event == kind][-most:] for kind in kinds}
            kept[:] = [e for e in kept[:-most] if e in older.get(e.event, [])] + kept[-most:]
        clock.now += rng.randrange(5)
        for user in ("u0", "u1", "u2"):
            shown = [e for e in plain.get(user, []) if e.timestamp >= clock.now - 50]
            n = rng.randrange(1, 12)
            assert store.last([user], n) == [shown[-n:]]
            assert store.last([user], n, ["buy"]) == [[e for e in shown if e.event == "buy"][-n:]]
