"""Searches that chose no item: rows of a log with words and without an item."""

import numpy as np
import pandas as pd

from tfrs_twotower.data import Columns, Frames, Joined, UserSearches, append, ingest, keep_log, read_log

COLUMNS = Columns(context=("query",))


def frames():
    """Two days of searches by a and b; the second repeats one of the first."""
    first = pd.DataFrame({"user_id": ["a", "b", "a", "a", "c"], "item_id": ["x", "y", None, None, ""],
                          "timestamp": [10, 20, 15, 30, 12], "query": ["red", None, "blue", "", "green"]})
    second = pd.DataFrame({"user_id": ["a", "b", "a", "b"], "item_id": [None, None, "x", "y"],
                           "timestamp": [15, 35, 40, 50], "query": ["blue", "red hat", None, None]})
    return Frames(first, columns=COLUMNS), Frames(second, columns=COLUMNS)


def searched(log):
    users = log.users["user_id"].to_pylist()
    return [(users[user], int(time), words) for user, time, words in
            zip(log.searched.user, log.searched.timestamp, log.searched.query.to_pylist())]


def test_a_row_with_words_and_without_an_item_is_a_search(tmp_path):
    first, second = frames()
    log, report = ingest(first, limit=1)
    assert searched(log) == [("c", 12, "green"), ("a", 15, "blue")] and len(log) == 2
    assert report.rejected == {"item_id: missing": 1} and report.accepted == 4
    keep_log(log, report, tmp_path)
    kept, _ = read_log(tmp_path)
    assert searched(kept) == searched(log) and kept.fingerprint() == log.fingerprint()
    of_c, _ = log.of_users(np.array([2]))
    assert searched(of_c) == [("c", 12, "green")] and len(of_c) == 0 and of_c.fingerprint() != log.fingerprint()
    for whole in (append(kept, second)[0], ingest(Joined((first, second)), limit=1)[0]):
        assert searched(whole) == [("c", 12, "green"), ("a", 15, "blue"), ("b", 35, "red hat")]


def test_words_before_an_event_and_of_users_now():
    first, second = frames()
    log, _ = ingest(Joined((first, second)), limit=1)  # a: red 10, blue 15, then x 40; b: y 20, red hat 35, then y 50
    found = UserSearches(log)

    def before(rows, length):
        return [[text for text in found.texts[row] if text] for row in found.before(np.array(rows), length)]

    assert before([0, 1, 2, 3], 5) == [[], [], ["red", "blue"], ["red hat"]]
    assert before([2], 1) == [["blue"]]
    a, b, c = (log.users["user_id"].to_pylist().index(user) for user in "abc")
    assert [words.tolist() for words in found.latest(np.array([c, -1, a, b]), 2)] == [
        ["green"], [], ["red", "blue"], ["red hat"]]
    hidden = UserSearches(log, visible=np.array([False, True, True, True]))
    assert hidden.latest(np.array([a]), 2)[0].tolist() == ["blue"]
