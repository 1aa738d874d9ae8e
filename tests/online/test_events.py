"""What is an event, and what is refused with which words."""

import re

import pytest

from tfrs_twotower.errors import DataError
from tfrs_twotower.online import Event, read_event

NOW = 1_700_000_000
GOOD = {"event_id": "e1", "user_id": "u", "item_id": "i"}


def test_numbers_become_text_and_what_is_left_out_has_its_default():
    assert read_event(GOOD, NOW + 0.9) == Event("e1", "u", "i", NOW, "")
    given = {"event_id": 7, "user_id": 42.0, "item_id": 0, "timestamp": 5.0, "event": "buy"}
    assert read_event(given, NOW) == Event("7", "42", "0", 5, "buy")
    assert read_event({**GOOD, "user_id": 2**63 - 1}, NOW).user_id == str(2**63 - 1)
    assert read_event({**GOOD, "timestamp": NOW + 86_400}, NOW).timestamp == NOW + 86_400


def test_all_that_an_event_can_say():
    more = {"event": "click", "answer": "a" * 64, "place": 3.0, "dwell": 0, "value": -1.5, "query": "q" * 512}
    found = read_event({**GOOD, **more}, NOW)
    assert found == Event("e1", "u", "i", NOW, "click", "a" * 64, 3, 0.0, -1.5, "q" * 512)
    assert type(found.place) is int and type(found.dwell) is float


@pytest.mark.parametrize("item", [{}, {"item_id": ""}, {"item_id": None}])
def test_a_search_may_have_no_item(item):
    given = {"event_id": "e1", "user_id": "u", "event": "search", "query": "shoes", **item}
    assert read_event(given, NOW) == Event("e1", "u", "", NOW, "search", query="shoes")
    with pytest.raises(DataError, match="item_id"):
        read_event({**given, "query": ""}, NOW)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"user_id": None}, "`user_id` must be text or a whole number. Received: a NoneType"),
        ({"user_id": True}, "Received: a bool"),
        ({"user_id": [1]}, "Received: a list"),
        ({"user_id": 1.5}, "Received: a float"),
        ({"user_id": ""}, "must not be the missing id"),
        ({"user_id": "-1"}, "must not be the missing id"),
        ({"user_id": -1}, "be between 0 and"),
        ({"user_id": 2**63}, "as text"),
        ({"item_id": "x" * 513}, "at most 512 bytes"),
        ({"item_id": "é" * 257}, "at most 512 bytes"),
        ({"item_id": "\ud800"}, "UTF-8"),
        ({"event": 5}, "`event` must be text"),
        ({"event": "x" * 65}, "at most 64 bytes"),
        ({"timestamp": "now"}, "whole seconds since 1970"),
        ({"timestamp": True}, "whole seconds since 1970"),
        ({"timestamp": 1.5}, "whole seconds since 1970"),
        ({"timestamp": 0}, "after 1970"),
        ({"timestamp": NOW * 1000}, "not milliseconds"),
        ({"timestamp": float("nan")}, "whole seconds since 1970"),
        ({"timestamp": float("inf")}, "whole seconds since 1970"),
        ({"answer": "x" * 65}, "`answer` must have at most 64 bytes"),
        ({"place": -1}, "`place` must be a whole number of at least 0"),
        ({"place": 0.5}, "`place` must be a whole number"),
        ({"place": True}, "`place` must be a whole number"),
        ({"place": 2**31}, "`place` must be a whole number"),
        ({"dwell": -0.1}, "`dwell` must be a finite number of seconds of at least 0"),
        ({"dwell": float("nan")}, "`dwell` must be a finite number"),
        ({"dwell": "5"}, "`dwell` must be a finite number"),
        ({"value": float("-inf")}, "`value` must be a finite number"),
        ({"value": 10**400}, "`value` must be a finite number"),
        ({"value": True}, "`value` must be a finite number"),
        ({"query": "é" * 257}, "`query` must have at most 512 bytes"),
        ({"query": 5}, "`query` must be text"),
        ({"item": "i"}, "Did you mean `item_id`?"),
    ],
)
def test_what_is_wrong_is_refused_with_its_name(change, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_event({**GOOD, **change}, NOW)


@pytest.mark.parametrize("name", GOOD)
def test_ids_have_to_be_there(name):
    with pytest.raises(DataError, match=f"needs `{name}`"):
        read_event({k: v for k, v in GOOD.items() if k != name}, NOW)


@pytest.mark.parametrize("value", [None, [], "e", 5])
def test_an_event_is_an_object(value):
    with pytest.raises(DataError, match="must be an object"):
        read_event(value, NOW)


def test_null_stands_for_the_default():
    assert read_event({**GOOD, "timestamp": None, "event": None}, NOW) == Event("e1", "u", "i", NOW, "")
