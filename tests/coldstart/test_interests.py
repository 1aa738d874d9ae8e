"""Picks at sign-up as a past, until the first event."""

import pytest

from tests.serving import history_export
from tfrs_twotower.coldstart import InterestHistory
from tfrs_twotower.online import Event, open_stores
from tfrs_twotower.serving import Predictor, Repository
from tfrs_twotower.serving.features import Features
from tfrs_twotower.serving.metrics import Metrics


@pytest.fixture
def stores(tmp_path):
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    stores.profiles.put({"1": {"interests": [3, "a", 3]}, "2": {"interests": "3"}, "3": {"interests": ["4"]}})
    stores.history.append([Event("e", "3", "2", 50, "view")])
    yield stores
    stores.close()


def items(found):
    return [[event.item_id for event in events] for events in found]


def test_picks_stand_in_until_the_first_event(stores):
    history = InterestHistory(stores.history, stores.profiles, standing={"a": ["7", "3", "8"]})
    assert items(history.last(["1", "2", "3", "4"], 9)) == [["3", "7", "8"], [], ["2"], []]
    assert items(history.last(["1"], 2)) == [["3", "7"]]
    assert items(history.last(["3"], 9, types=("buy",))) == [["4"]]  # no event of that type
    assert history.append([Event("e1", "1", "5", 60)]) == 1
    assert items(history.last(["1"], 9)) == [["5"]]
    assert items(stores.history.last(["2"], 9)) == [[]]  # picks are no events


def test_the_server_reads_picks_as_events_without_a_time(stores, tmp_path):
    history_export.write(tmp_path, 1)
    repository = Repository(tmp_path)
    repository.poll()
    picked = type(stores)(InterestHistory(stores.history, stores.profiles), stores.profiles, stores.retention)
    predictor = Predictor(repository, features=Features(picked, Metrics(), cold_beta=-1.0))
    got = predictor.predict("echo", {"user_id": [1, 2]})
    assert got["got_history_item_id"].tolist() == [[3], [-1]]  # "a" is no item of this model
    assert got["got_history_timestamp"].tolist() == [[0], [-1]]
    assert predictor.predict("", {"user_id": [1, 2]})["ids"].tolist() == [[3, 4], [4, 3]]
    repository.close()
