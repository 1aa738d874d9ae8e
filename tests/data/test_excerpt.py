"""The part of a log that is read for some users: theirs is as in the whole log, and all else is left out."""

import numpy as np
import pandas as pd
import pytest

from tfrs_twotower.data import Frames, ReadOnce, Rules, append, excerpt, ingest
from tfrs_twotower.errors import DataError

START = 1_700_000_000


def frame(users, items, start=START, **columns):
    return pd.DataFrame({"user_id": users, "item_id": items, "timestamp": start + np.arange(len(users)), **columns})


def known(log):
    """(user, item, seconds after the start) of the log's events."""
    users, items = log.users["user_id"].to_pylist(), log.items["item_id"].to_pylist()
    return [(users[u], items[i], t - START) for u, i, t in zip(log.user, log.item, log.timestamp.tolist())]


@pytest.fixture
def log():
    """Six events of four users with ten items, five of which no event has."""
    films = pd.DataFrame({"item_id": np.arange(10), "title": [f"film {i}" for i in range(10)]})
    return ingest(Frames(frame(["a", "b", "c", "a", "b", "d"], [9, 8, 7, 6, 9, 5]), items=films))[0]


def test_it_has_the_users_of_rows_and_of_new_events_and_the_items_of_both(log):
    day = ReadOnce(Frames(frame(["b", "new", "b"], [3, 6, 77], START + 60)))
    part = excerpt(log, np.array([3]), 0, (0,), day)
    assert known(part) == [("a", 9, 0), ("b", 8, 1), ("a", 6, 3), ("b", 9, 4)]
    assert part.items["item_id"].to_pylist() == [3, 6, 8, 9] and part.users["user_id"].to_pylist() == ["a", "b"]
    assert part.items["title"].to_pylist() == ["film 3", "film 6", "film 8", "film 9"]
    # With the new events behind it, it is the whole log's part.
    both = append(part, day)[0]
    whole = append(log, day)[0]
    own, _ = whole.of_users(np.array([0, 1, 4]))
    assert known(both) == known(own) and both.part.tolist() == own.part.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert both.items["item_id"].to_pylist() == [3, 6, 8, 9, 77]


def test_items_are_drawn_from_all_and_all_are_there_if_so_many_are_wanted(log):
    assert excerpt(log, np.array([5]), 10, (0,)).items["item_id"].to_pylist() == list(range(10))
    found = [excerpt(log, np.array([5]), 4, (seed,)).items["item_id"].to_pylist() for seed in range(200)]
    assert {len(items) for items in found} == {4, 5} and all(5 in items for items in found)
    counts = np.bincount(np.concatenate(found))
    assert (np.delete(counts, 5) > 50).all()  # of 80 expected
    assert found[3] == excerpt(log, np.array([5]), 4, (3,)).items["item_id"].to_pylist()


def test_nothing_new_leaves_the_users_of_the_rows(log):
    none = ReadOnce(Frames(frame([], [])))
    part = excerpt(log, np.array([2]), 0, (0,), none)
    assert known(part) == [("c", 7, 2)] and append(part, none)[0] is part


@pytest.mark.parametrize("users, items, wrong", [([1, 2], [1, 2], "user_id"), (["a", "b"], ["x", "y"], "item_id")])
def test_ids_of_another_type_are_an_error_of_the_new_events(log, users, items, wrong):
    day = ReadOnce(Frames(frame(users, items, START + 60)))
    with pytest.raises(DataError, match=f"`{wrong}` is .* Store it as one type|`{wrong}` is text"):
        append(excerpt(log, np.array([2]), 0, (0,), day), day, Rules())


def test_a_source_is_read_once(log):
    class Growing(Frames):
        def interactions(self):
            asked.append(self)
            yield from super().interactions()

    asked = []
    day = ReadOnce(Growing(frame(["b"], [3], START + 60)))
    append(excerpt(log, np.array([2]), 0, (0,), day), day)
    assert len(asked) == 1
