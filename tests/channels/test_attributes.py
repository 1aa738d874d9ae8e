"""Attributes and rules on five items whose values stand here."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.channels import Attributes, Rule, read_rules, satisfied
from tfrs_twotower.errors import DataError

TABLE = pa.table({
    "category": ["a", "b", None, "a", "é"],
    "price": [1.0, 2.5, None, 5.0, 4.0],
    "year": pa.array([1999, 2000, 2001, None, 2003], pa.int64()),
    "genres": [["x", "y"], [], None, ["y"], ["z", None]],
    "sizes": pa.array([[1, 2], [2], None, [], [7]], pa.list_(pa.int64())),
    "new": [True, False, None, True, False],
    "added": pa.array([0, 0, 0, 0, 0], pa.timestamp("s")),
})
ATTRIBUTES = Attributes(pa.concat_tables([TABLE.slice(0, 2), TABLE.slice(2)]))  # of two chunks
KINDS = ATTRIBUTES.kinds


def rows(allow=None, deny=None):
    """Rows of the items that satisfy a request."""
    good = satisfied(ATTRIBUTES, read_rules("allow", allow or {}, KINDS), read_rules("deny", deny or {}, KINDS))
    return np.flatnonzero(good).tolist()


def test_kinds_are_those_of_the_columns():
    assert KINDS == {
        "category": "text", "price": "number", "year": "number", "genres": "text", "sizes": "number",
        "new": "truth value",
    }


@pytest.mark.parametrize("allow, expected", [
    ({}, [0, 1, 2, 3, 4]),
    ({"category": "a"}, [0, 3]),
    ({"category": ["é", "b", "not there"]}, [1, 4]),
    ({"category": "not there"}, []),
    ({"genres": ["y"]}, [0, 3]),
    ({"genres": ["x", "z"]}, [0, 4]),
    ({"sizes": 2.0}, [0, 1]),
    ({"sizes": {"min": 3}}, [4]),
    ({"price": {"min": 2.5, "max": 4}}, [1, 4]),
    ({"price": {"max": 1}}, [0]),
    ({"price": [1, 5.0]}, [0, 3]),
    ({"year": {"min": 2000}}, [1, 2, 4]),
    ({"new": True}, [0, 3]),
    ({"new": [True, False]}, [0, 1, 3, 4]),
    ({"category": "a", "price": {"min": 2}}, [3]),
])
def test_all_rules_of_allow_hold(allow, expected):
    assert rows(allow) == expected


@pytest.mark.parametrize("deny, expected", [
    ({"category": "a"}, [1, 2, 4]),
    ({"category": "a", "genres": "z"}, [1, 2]),
    ({"price": {"max": 3}}, [2, 3, 4]),
])
def test_no_rule_of_deny_holds(deny, expected):
    assert rows(deny=deny) == expected


def test_both():
    assert rows({"price": {"min": 1}}, {"genres": "x"}) == [1, 3, 4]


def test_other_items_with_the_same_columns():
    others = ATTRIBUTES.like([
        {"category": "a", "price": 3, "genres": ["y", 5]}, {"price": "dear", "genres": "y", "new": 1}, {"other": 1},
        {"category": "\ud800", "year": 2000, "new": False},
    ])
    assert others.kinds == KINDS and len(others) == 4
    assert others.any_of("category", ("a",)).tolist() == [True, False, False, False]
    assert others.any_of("genres", ("y",)).tolist() == [True, False, False, False]
    assert others.between("price", 0, 9).tolist() == [True, False, False, False]
    assert others.any_of("new", (False,)).tolist() == [False, False, False, True]
    assert not ATTRIBUTES.like([]).any_of("genres", ("y",)).size


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.list_(pa.int64(), 1)])
def test_other_items_have_numbers_that_the_column_cannot_hold(kind):
    one = [[1]] if pa.types.is_fixed_size_list(kind) else [1]
    numbers = [1.5, 300, 2**53 + 1, 10**300]
    rows = [{"n": [number, number] if isinstance(one[0], list) else number} for number in numbers]
    others = Attributes(pa.table({"n": pa.array(one, kind)})).like(rows)
    assert others.between("n", 1.2, 1.8).tolist() == [True, False, False, False]
    assert others.between("n", 2, 1e308).tolist() == [False, True, True, True]


@pytest.mark.parametrize("given, message", [
    ([], "`allow` must be an object"),
    ({"categry": "a"}, "no attribute `categry`. Did you mean `category`?"),
    ({"added": 0}, "no attribute `added`"),
    ({"category": 1}, "`allow.category` must be a text"),
    ({"category": ["a", None]}, "`allow.category` must be a text"),
    ({"category": "\ud800"}, "`allow.category` must be a text"),
    ({"category": []}, "`allow.category` must hold a value"),
    ({"category": {"min": 1}}, "Only numbers have a range"),
    ({"price": "1"}, "`allow.price` must be a number"),
    ({"price": True}, "`allow.price` must be a number"),
    ({"price": 10**400}, "`allow.price` must be a number"),
    ({"price": float("nan")}, "`allow.price` must be a number"),
    ({"price": {}}, "range of numbers"),
    ({"price": {"least": 1}}, "range of numbers"),
    ({"price": {"min": "1"}}, "range of numbers"),
    ({"price": {"min": 2, "max": 1}}, "`min` that is at most `max`"),
    ({"new": 1}, "`allow.new` must be a truth value"),
])
def test_what_is_no_rule_is_refused(given, message):
    with pytest.raises(DataError) as error:
        read_rules("allow", given, KINDS)
    assert message in str(error.value)


def test_without_attributes_the_way_out_is_another_export():
    with pytest.raises(DataError, match="export it again"):
        read_rules("deny", {"category": "a"}, {})


def test_rules_are_read_as_they_stand():
    given = {"price": {"min": 1}, "category": ["a", "b"]}
    assert read_rules("allow", given, KINDS) == [Rule("price", (), 1), Rule("category", ("a", "b"))]


def test_of_other_items_only_what_is_asked_for_is_read():
    asked = []

    class Noting(dict):
        def get(self, name):
            asked.append(name)
            return super().get(name)

    table = pa.table({"item_id": ["a"], "price": [1], "shelf": [["x"]]})
    found = Attributes(table).like([Noting(item_id="b", price=2, shelf=["y", "z"]), Noting(item_id="c", price="dear")])
    assert asked == [] and len(found) == 2
    assert found.between("price", 2, 9).tolist() == [True, False] and asked == ["price"] * 2
    assert found.any_of("shelf", ["z"]).tolist() == [True, False]
    assert found.any_of("shelf", ["x"]).tolist() == [False, False]
    assert asked == ["price"] * 2 + ["shelf"] * 2
