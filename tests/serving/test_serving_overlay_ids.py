"""What is taken over from the changed items of before equals what is made from nothing."""

import types

import numpy as np
import pytest

from tfrs_twotower.serving.overlay_ids import OverlayIds

CATALOGUE = {"a": 0, "b": 1, "c": 2, "d": 3}


class Looked(types.SimpleNamespace):
    """A catalogue of four items that notes what it is asked for."""

    def rows(self, ids):
        self.asked += ids
        return np.array([CATALOGUE.get(item, -1) for item in ids], np.int64)


@pytest.mark.parametrize("before, after, looked_up", [
    ("", "bx", "bx"),
    ("bx", "bx", ""),
    ("bx", "bcx", "c"),
    ("bx", "abx", "a"),
    ("bx", "bxd", "d"),
    ("bcx", "bx", ""),
    ("bcx", "cx", ""),
    ("bcx", "bc", ""),
    ("bcx", "", ""),
    ("bcx", "bdyx", "dy"),
    ("bb", "bbb", "b"),  # not distinct, as padding may be
    ("abc", "xyz", "xyz"),
])
def test_only_what_differs_is_looked_up(before, after, looked_up):
    raw = {text: np.array([letter.encode() for letter in text], object) for text in (before, after)}
    start = OverlayIds.none().followed_by(raw[before], Looked(asked=[]))
    catalogue = Looked(asked=[])
    found, anew = start.followed_by(raw[after], catalogue), OverlayIds.none().followed_by(raw[after], Looked(asked=[]))
    assert "".join(catalogue.asked) == looked_up
    assert found.ids == anew.ids == list(after) and found.place == anew.place
    assert found.rows.tolist() == [CATALOGUE.get(item, -1) for item in after]


def test_numbers():
    first = OverlayIds.none().followed_by(np.array([3, 9]), types.SimpleNamespace(rows=lambda ids: np.array([0, -1])))
    found = first.followed_by(np.array([3, 5, 9]), types.SimpleNamespace(rows=lambda ids: np.array([7])))
    assert found.ids == [3, 5, 9] and found.rows.tolist() == [0, 7, -1] and found.place == {3: 0, 5: 1, 9: 2}
