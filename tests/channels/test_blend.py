"""Places, their filling and their order, by hand."""

import pytest

from tfrs_twotower.channels import Context, admitted, blend, interleave, places
from tfrs_twotower.errors import DataError

KNOWN = ("u2i", "i2i", "popular")


def test_places_that_nobody_reserved_go_to_the_rest():
    assert places({}, 3, KNOWN, "u2i") == {"u2i": 3}
    assert places({"i2i": 1, "u2i": 1}, 4, KNOWN, "u2i") == {"i2i": 1, "u2i": 3}
    assert list(places({"i2i": 2}, 5, KNOWN, "u2i").items()) == [("i2i", 2), ("u2i", 3)]
    assert places({"popular": 2, "u2i": 0}, 2, KNOWN, "u2i") == {"popular": 2, "u2i": 0}


@pytest.mark.parametrize("quotas, message", [
    (["u2i"], "`channels` must be an object"),
    ({"populr": 1}, "no channel `populr`. Did you mean `popular`?"),
    ({"u2i": -1}, "`channels.u2i` must be a whole number"),
    ({"u2i": True}, "`channels.u2i` must be a whole number"),
    ({"u2i": 1.5}, "`channels.u2i` must be a whole number"),
    ({"u2i": 3, "i2i": 2}, "at most k=4 items. Received: channels=5"),
])
def test_places_that_cannot_be_are_refused(quotas, message):
    with pytest.raises(DataError) as error:
        places(quotas, 4, KNOWN, "u2i")
    assert message in str(error.value)


def proposer(**lists):
    """`propose` of channels whose items, best first, are letters."""
    def propose(name, n, taken):
        return [(item, -float(place)) for place, item in enumerate(lists[name]) if item not in taken][:n]

    return propose


def test_an_item_stays_with_the_first_channel():
    found = blend({"u2i": 2, "i2i": 2}, (), proposer(u2i="abc", i2i="bcd"))
    assert [(name, item) for name, item, _ in found] == [("u2i", "a"), ("i2i", "c"), ("u2i", "b"), ("i2i", "d")]
    found = blend({"i2i": 2, "u2i": 2}, (), proposer(u2i="abc", i2i="bcd"))
    assert [(name, item) for name, item, _ in found] == [("i2i", "b"), ("u2i", "a"), ("i2i", "c")]


def test_a_place_that_is_not_filled_goes_to_the_first_reserve_that_can():
    found = blend({"u2i": 1, "i2i": 3}, ("u2i", "popular"), proposer(u2i="ab", i2i="c", popular="axyz"))
    assert {(name, item) for name, item, _ in found} == {("u2i", "a"), ("u2i", "b"), ("i2i", "c"), ("popular", "x")}
    assert blend({"u2i": 2}, ("u2i", "popular"), proposer(u2i="", popular="")) == []


def test_channels_are_spread_evenly():
    picked = {"u2i": [(i, 0) for i in "abcdef"], "i2i": [("x", 0), ("y", 0)], "popular": [("p", 0)], "none": []}
    # u2i at 1, 3, 5, 7, 9, 11 twelfths; i2i at 3 and 9; popular at 6
    assert "".join(item for _, item, _ in interleave(picked)) == "abxcpdeyf"


class Counting:
    """Proposes 0, 1, 2, …, `size` of them."""

    name = "counting"

    def __init__(self, size):
        self.size, self.asked = size, []

    def propose(self, context, n):
        self.asked.append(n)
        return [(i, -i) for i in range(min(n, self.size))]


def test_a_channel_is_asked_for_more_until_enough_are_admitted():
    context = Context("", (), lambda items: [item % 10 == 9 for item in items])
    channel = Counting(100)
    assert admitted(channel.propose, context, 2) == [(9, -9), (19, -19)] and channel.asked == [2, 8, 32]
    channel = Counting(15)
    assert admitted(channel.propose, context, 2) == [(9, -9)] and channel.asked == [2, 8, 32]
