"""The pool on disk and what is proposed of it: caps and shares exact, clicks counted once."""

import threading
from fractions import Fraction

import pytest

from tfrs_twotower.channels import Context, admitted
from tfrs_twotower.exploration import (
    ClickedHistory,
    EpsilonGreedy,
    Exploration,
    Explorer,
    Exposures,
    FreshChannel,
)
from tfrs_twotower.online import Event, SqliteFile, SqliteHistoryStore, StoreError

ALWAYS = Exploration(EpsilonGreedy(epsilon=0.0), share=1.0, cap=3)


@pytest.fixture
def exposures(tmp_path):
    exposures = Exposures(tmp_path / "new.db")
    exposures.add(["a", "b", "c"])
    yield exposures
    exposures.close()


def ids(proposals):
    return [item for item, _ in proposals]


def test_what_was_shown_and_clicked_is_there_after_a_restart(exposures, tmp_path):
    explorer = Explorer(exposures, ALWAYS, seed=0)
    assert sorted(ids(explorer.choose(3, "u"))) == ["a", "b", "c"]
    assert exposures.click([("u", "b"), ("u", "b"), ("v", "b"), ("u", "never seen")]) == 1
    other = Exposures(tmp_path / "new.db")
    assert other.counts() == {"a": (1, 0), "b": (1, 1), "c": (1, 0)}
    assert other.click([("u", "b")]) == 0  # reported again
    other.add(["b", "d"])
    assert other.counts() == {"a": (1, 0), "b": (1, 1), "c": (1, 0), "d": (0, 0)}
    # Means of Beta(1, 1): b 2/3, d 1/2, a and c 1/3.
    assert Explorer(other, ALWAYS).choose(2) == [("b", pytest.approx(2 / 3)), ("d", pytest.approx(1 / 2))]
    other.remove(["b"])
    assert other.counts() == {"a": (1, 0), "c": (1, 0), "d": (1, 0)}
    other.close()


def test_a_user_is_one_trial_however_often_the_item_is_shown(exposures):
    """Two of four users click: 1/2, though one of them was shown it 97 times before."""
    explorer = Explorer(exposures, Exploration(EpsilonGreedy(epsilon=0.0), share=1.0, cap=100))
    for user in ["u"] * 97 + ["v", "w", "x"]:
        assert ids(explorer.choose(1, user, lambda items: [item == "a" for item in items])) == ["a"]
    assert exposures.click([("u", "a"), ("u", "a"), ("v", "a")]) == 2
    assert exposures.counts()["a"] == (4, 2)
    explorer.choose(1, "u", lambda items: [item == "a" for item in items])
    assert exposures.counts()["a"] == (4, 2)  # and 100 showings are the cap
    assert ids(explorer.choose(3, "y")) != [] and "a" not in ids(explorer.choose(3, "y"))


def test_a_file_that_counted_every_showing_is_counted_anew(tmp_path):
    old = SqliteFile(tmp_path / "old.db")
    with old.transaction() as connection:
        connection.execute("CREATE TABLE new_items (item_id TEXT PRIMARY KEY, shown INTEGER NOT NULL DEFAULT 0, "
                           "clicked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID")
        connection.execute("CREATE TABLE shown_to (item_id TEXT, user_id TEXT, clicked INTEGER NOT NULL DEFAULT 0, "
                           "PRIMARY KEY (item_id, user_id)) WITHOUT ROWID")
        connection.execute("INSERT INTO new_items VALUES ('a', 9, 1), ('b', 0, 0)")
        connection.execute("INSERT INTO shown_to VALUES ('a', 'u', 1), ('a', 'v', 0)")
    old.close()
    exposures = Exposures(tmp_path / "old.db")
    assert exposures.counts() == {"a": (2, 1), "b": (0, 0)}
    assert ids(Explorer(exposures, Exploration(share=1.0, cap=9)).choose(2, "u")) == ["b"]  # 9 showings of a
    exposures.close()


def test_clicks_of_users_who_are_not_known_do_not_count(exposures):
    Explorer(exposures, ALWAYS).choose(3)
    assert exposures.click([("", "a"), ("u", "a")]) == 0


def test_no_item_is_proposed_more_often_than_the_cap(exposures):
    explorer = Explorer(exposures, ALWAYS, seed=0)
    found = [item for _ in range(20) for item in ids(explorer.choose(2))]
    assert sorted(found) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert explorer.choose(2) == []


def test_the_cap_holds_for_threads_of_two_explorers(exposures, tmp_path):
    other = Exposures(tmp_path / "new.db")
    settings = Exploration(share=1.0, cap=25)
    found = []

    def ask(explorer):
        for _ in range(20):
            found.extend(ids(explorer.choose(1, "u")))

    explorers = [Explorer(exposures, settings), Explorer(other, settings)]
    threads = [threading.Thread(target=ask, args=(explorers[n % 2],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["a"] * 25 + ["b"] * 25 + ["c"] * 25
    other.close()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1 / 3, 0.5, 1.0])
def test_the_share_of_the_traffic_is_exact_at_every_request(exposures, share):
    explorer = Explorer(exposures, Exploration(share=share, cap=10**6))
    explored = 0
    for t in range(1, 61):
        explored += bool(explorer.choose(1))
        assert explored == int(Fraction(share).limit_denominator(100) * t)


def test_what_is_not_allowed_is_neither_proposed_nor_counted(exposures):
    explorer = Explorer(exposures, ALWAYS)
    assert ids(explorer.choose(3, admits=lambda items: [item == "c" for item in items])) == ["c"]
    assert exposures.counts() == {"a": (0, 0), "b": (0, 0), "c": (1, 0)}


def test_as_a_channel_it_knows_the_rules_of_the_request(exposures):
    exposures.add(["7", "8"])
    exposures.remove(["a", "b", "c"])
    channel = FreshChannel(Explorer(exposures, ALWAYS), id_type=int)
    context = Context("u", (), lambda items: [item == 8 for item in items])
    assert admitted(channel.propose, context, 2) == [(8, 0.5)]
    assert exposures.counts() == {"7": (0, 0), "8": (1, 0)} and exposures.click([("u", "8")]) == 1


def test_nobody_is_shown_new_items(exposures):
    """No click could be told from them: they would count as misses."""
    context = Context("", (), lambda items: [True] * len(items))
    assert admitted(FreshChannel(Explorer(exposures, ALWAYS)).propose, context, 2) == []
    assert exposures.counts() == {"a": (0, 0), "b": (0, 0), "c": (0, 0)}


def test_events_are_clicks_on_what_was_shown(exposures, tmp_path):
    history = SqliteHistoryStore(SqliteFile(tmp_path / "store.db"))
    clicked = ClickedHistory(history, exposures, types=("buy",))
    Explorer(exposures, ALWAYS).choose(3, "u")
    events = [Event("1", "u", "a", 5, "buy"), Event("2", "u", "b", 6, "view"), Event("3", "v", "c", 7, "buy")]
    assert [clicked.append(events), clicked.append(events)] == [3, 0]
    assert exposures.counts() == {"a": (1, 1), "b": (1, 0), "c": (1, 0)}
    assert clicked.last(["u"], 5) == [events[:2]]
    everything = ClickedHistory(history, exposures)
    everything.append([Event("4", "u", "c", 8, "dislike")])
    assert exposures.counts()["c"] == (1, 0)
    clicked.close()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "x").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match="cannot be opened"):
        Exposures(tmp_path / "x")
